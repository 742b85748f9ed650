"""The structs as a Kaitai Struct schema."""
