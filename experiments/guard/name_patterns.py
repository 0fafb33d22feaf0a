"""Sentence patterns of the names tagger: {P} a person, {L} a place, {A} an address, {C} a company, {T} a thing that is
written like a name and is none, {N} a number. All written for this project."""

# ruff: noqa: E501  (lists of text)

COMPANIES = [
    "Northwind", "Acme Logistics", "Blue Harbor Bank", "Helios Energy", "Green Valley Foods", "Contoso", "Orbit Systems",
    "Red Fern Books", "Lakeside Clinic", "Pioneer Rail", "Silver Oak Insurance", "Globex", "Umbra Games",
]  # fmt: skip
THINGS = [
    "Monday", "Tuesday", "Friday", "Saturday", "January", "April", "June", "October", "Christmas", "Easter", "Python", "Java",
    "Windows", "Linux", "Excel", "PowerPoint", "English", "French", "German", "Spanish", "The Old Man and the Sea", "Hamlet",
    "Star Wars", "The Great Gatsby", "Bluetooth", "WiFi", "GPS", "CEO", "FAQ", "PDF", "JSON", "SQL", "VAT", "DNA", "USA Today",
    "Internet", "God", "Earth", "Mars", "Renaissance", "Victorian", "Roman", "Buddhist", "Catholic", "Nobel Prize", "Olympic Games",
    "World Cup", "Second World War", "Cold War", "Dr", "Sir", "Mom", "Dad", "Grandma", "I", "Visa", "Mastercard", "PayPal", "iPhone",
    "Android", "Netflix", "Google", "Amazon", "Toyota", "Vitamin C", "Article", "Chapter", "Section", "Figure", "Table", "Step",
]  # fmt: skip
PATTERNS = [
    "My name is {P}.", "my name is {P} and I live in {L}", "I'm {P}, nice to meet you.", "Hi, this is {P} from {C}.", "This is {P} speaking.",
    "Please call {P} back on {T}.", "{P} lives at {A}.", "{P} lives in {L} with {P}.", "Dear {P},\nthank you for your letter.", "Kind regards,\n{P}",
    "Sincerely,\n{P}\n{C}\n{A}", "{P}\n{A}\n{L}", "{P}\n\n{A}\n{L}\nPhone:", "Mr. {P} will see you on {T}.", "Mrs. {P} and Dr. {P} agree.", "Ms {P} moved from {L} to {L}.",
    "I met {P} in {L} last {T}.", "Have you seen {P}?", "{P} said that {P} was late.", "{P}: Where are you?\n{P}: At home.", "Why is {P} so quiet?", "Who is {P}?",
    "{P}'s car is parked at {A}.", "Is {P} your sister?", "{P} and {P} got married in {L}.", "The suspect, {P}, {N}, was arrested in {L}.", "Written by {P}, directed by {P}.",
    "According to {P}, {T} is over.", "A song by {P} and {P}", "Author: {P}", "Name: {P}\nCity: {L}\nAddress: {A}", "Full name: {P}", "Customer: {P}, {A}, {L}", "Patient {P}, age {N}, from {L}.",
    "Send the parcel to {A}, {L}.", "Ship it to {P}, {A}.", "My address is {A}", "my new address is {A}, {L}", "I moved to {A}. Please update it.", "We are at {A} until {T}.",
    "Billing address: {P}\n    {A}\n   {L}", "Where is {A}?", "Call a taxi to {A}, please.", "The shop at {A} is closed on {T}.", "The bus stops at {A}.", "Return it to {A} if lost.",
    "What is your address? It is {A}", "The address of {C} is {A}\n{L}", "Our office in {L} is at {A}.", "> {P}\n> {C}\n> {A}\n> {L}", "Turn left at {A} and drive on to {L}.",
    "I am flying to {L} on {T}.", "Who is coming to {L} with me?", "We moved here from {L}", "How is the weather in {L}?", "{L} is the capital of {L}.", "The train from {L} to {L} leaves at {N}.",
    "He grew up in {L}, near {L}.", "She was born in {L} and studied in {L}.", "People in {L} speak {T}.", "{C} is a company based in {L}.", "I have been in {L} for {N} weeks", "flights to {L} from {L}",
    "the trip to {L} was great", "A hotel in {L}, {L}", "My cousin {P} works for {C} in {L}.", "My friend {P} bought {T}.", "My boss {P} wants {T} by {T}.", "Ask {P} about {T}.", "tell {P} i said hi",
    "{P} is {N} years old.", "{P} was a famous painter from {L}.", "The {P} family owns {C}.", "What's your last name? {P}", "What is your name? {P}", "Could you please change it to {P}?",
    "The name on the card is wrong, it should be {P}", "Transfer the money to {P}.", "I want to add {P} as a user.", "{P} has sent you a message.", "Meeting with {P}, {P} and {P} on {T}.",
    "President {P} visited {L} on {T}.", "Professor {P} teaches {T} in {L}.", "My grandfather was called {P}.", "{P} flew to {L} on {T} morning.", "She told {P} about {T}.", "{P} is a kind person.",
    "{P} (born {N} {T}) is a writer from {L}.", "Thank you {P}!", "Hello {P}, how are you?", "Hey {P}", "Good morning {P}.", "Best, {P}", "cc {P}", "@ {P}: see {T}", "the killers of {P} were sentenced",
    "What is {T}?", "How do I learn {T} in {N} days?", "Explain {T} to me.", "On {T} we watched {T}.", "{T} and {T} are different.", "Is {T} better than {T}?", "Write a summary of {T}.", "{T} {N}: {T}",
    "{C} sells {T}.", "I work at {C}.", "{C} and {C} have merged.", "Please cancel my contract with {C}.", "My card from {C} does not work.", "We wrote to {C} on {T}.", "Which is the best {T} for beginners?",
    "I have {N} apples and {N} pears.", "The price is {N} dollars.", "Room {N} is free on {T}.", "Open {T} and click on Save.", "My order number is {N}. When will it come?", "What are my options?", "Can I pay in {N} rates?",
    "Action, Comedy, Drama, {T}\nDirected by: {P}", "In {T}, {P} plays the hero.", "He won the {T} in {L}.", "Dr. {P} works at {C}, {A}.", "Contact: {P}, {C}", "Signed: {P}, {L}, {N} {T}", "ZIP: {N}", "I just turned {N}",
    "The quick brown fox jumps over the lazy dog.", "Please send me the statement for last month.", "I want to increase the limit of my card.", "{P} or {P}?", "If {P} comes, tell {P}.", "With {P} in {L}", "Lost near {A}: a dog called {P}.",
]  # fmt: skip
