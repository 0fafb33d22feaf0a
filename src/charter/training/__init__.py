"""One row layout, one loop; a method is how rows are made, which loss, and what is logged."""
