"""What runs and guards leave behind: run folders on disk, and one database."""
