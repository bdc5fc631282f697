//! From text to a KDL document.
