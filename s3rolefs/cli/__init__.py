"""What a person types: parsing and printing only."""
