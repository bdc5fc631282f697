//! Packages that are a few lines of text.

use super::*;
