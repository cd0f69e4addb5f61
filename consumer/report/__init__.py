"""What reports share: words, tables, progress, colours, fonts and the placing of names."""
