//! Before the parser.
