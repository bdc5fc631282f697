//! How a fault looks.
