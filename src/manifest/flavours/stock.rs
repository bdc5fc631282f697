//! The flavours that imgbuild brings. A project's own of the same name is stronger.

use std::sync::Arc;

use crate::fault::Source;

/// A flavour of imgbuild's own: its name and the text of its `flavour.kdl`.
type Stock = (&'static str, &'static str);

/// All of them, by name.
const STOCK: &[Stock] = &[
    ("base", include_str!("stock/base.kdl")),
    ("devuser", include_str!("stock/devuser.kdl")),
    ("growroot", include_str!("stock/growroot.kdl")),
    ("local-config", include_str!("stock/local-config.kdl")),
    ("serial-console", include_str!("stock/serial-console.kdl")),
    ("ssh-host-keys", include_str!("stock/ssh-host-keys.kdl")),
    ("vm", include_str!("stock/vm.kdl")),
];

/// The text of the flavour, under a name that no file has.
pub fn text(name: &str) -> Option<Arc<Source>> {
    let (name, text) = STOCK.iter().find(|(stock, _)| *stock == name)?;
    Some(Source::new(format!("imgbuild's own flavour {name}"), *text))
}

/// Their names.
pub fn names() -> impl Iterator<Item = &'static str> {
    STOCK.iter().map(|(name, _)| *name)
}
