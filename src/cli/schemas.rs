//! JSON Schemas of what programs see, from the very types that are written.

use schemars::{Schema, schema_for};

use super::contract::{
    DifferenceAnswer, EntryAnswer, EventAnswer, FaultLine, FlavourAnswer, LayerAnswer, PackageAnswer,
    PlanAnswer, StepAnswer, TargetAnswer, UpdateAnswer,
};

/// Every schema: the name that people know it by, and its text.
pub fn all() -> Vec<(&'static str, String)> {
    let schemas: [(&str, Schema); 11] = [
        ("build", schema_for!(EventAnswer)),
        ("cache", schema_for!(LayerAnswer)),
        ("check", schema_for!(FaultLine<'static>)),
        ("diff", schema_for!(DifferenceAnswer)),
        ("flavours", schema_for!(FlavourAnswer)),
        ("ls", schema_for!(EntryAnswer)),
        ("packages", schema_for!(PackageAnswer)),
        ("plan", schema_for!(PlanAnswer)),
        ("targets", schema_for!(TargetAnswer)),
        ("update", schema_for!(UpdateAnswer)),
        ("why", schema_for!(StepAnswer)),
    ];
    schemas.into_iter().map(|(name, schema)| (name, text(&schema))).collect()
}

fn text(schema: &Schema) -> String {
    // Plain data: it can be written.
    let mut text = serde_json::to_string_pretty(schema).unwrap_or_default();
    text.push('\n');
    text
}
