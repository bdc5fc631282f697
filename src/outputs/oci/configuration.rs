//! What a container image says of itself: its name, how it is run, and what it is made of.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::OciOutput;
use super::packing::Layered;
use crate::fault::{Fault, Faults};
use crate::lang::{Node, Spanned};
use crate::outputs::Target;

/// `IMAGE:VERSION`, as far as the names can stand in a tag.
pub(super) fn own_tag(target: &Target<'_>) -> String {
    let letter = |letter: char| {
        if letter.is_ascii_lowercase() || letter.is_ascii_digit() || "._-".contains(letter) {
            letter
        } else {
            '-'
        }
    };
    let named = match target.hypervisor {
        Some(hypervisor) => format!("{}-{hypervisor}", target.image),
        None => target.image.to_string(),
    };
    let name: String = named.to_lowercase().chars().map(letter).collect();
    let version = target.version.filter(|version| is_version(version)).unwrap_or("latest");
    format!("{name}:{version}")
}

/// Whether it can stand behind the colon of a tag.
fn is_version(version: &str) -> bool {
    !version.is_empty()
        && version.len() <= 128
        && !version.starts_with(['.', '-'])
        && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// `NAME[:TAG]` as the OCI distribution specification allows them.
pub(super) fn checked_tag(tag: &Spanned<String>, faults: &mut Faults) -> Option<String> {
    let (name, version) = split_tag(&tag.value);
    let name_fits = name.split('/').all(|part| {
        part.starts_with(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit())
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-:".contains(&byte))
    });
    if name_fits && is_version(version) {
        return Some(tag.value.clone());
    }
    faults.push(
        Fault::error(
            "oci/tag",
            format!("`{}` is no name for a container image", crate::wording::printable(&tag.value)),
        )
        .at(&tag.place, "this tag")
        .help("write `name:tag`, the name in lower case with `a-z 0-9 . _ - /`"),
    );
    None
}

/// The name and what stands behind its colon: `latest` where nothing does.
pub(super) fn split_tag(tag: &str) -> (&str, &str) {
    match tag.rsplit_once(':') {
        Some((name, version)) if !version.contains('/') => (name, version),
        _ => (tag, "latest"),
    }
}

/// The configuration's `config` object, with the members that were stated.
pub(super) fn run(node: &Node, faults: &mut Faults) -> Value {
    let mut config = serde_json::Map::new();
    let texts = |word: &str| -> Vec<Spanned<String>> {
        node.child(word).map(|child| child.texts("value")).unwrap_or_default()
    };
    let values = |word: &str| -> Vec<String> { texts(word).into_iter().map(|text| text.value).collect() };
    let set = |values: Vec<String>| -> Value { values.into_iter().map(|value| (value, json!({}))).collect() };
    let free = |word: &str| -> BTreeMap<String, String> {
        let children = node.children(word);
        children
            .flat_map(|child| {
                child.free().map(|(name, value)| (name.to_string(), value.value)).collect::<Vec<_>>()
            })
            .collect()
    };
    if let Some(user) = node.text("user") {
        config.insert("User".into(), json!(user.value));
    }
    let ports =
        texts("port").into_iter().filter_map(|port| checked_port(&port, faults)).collect::<Vec<String>>();
    if !ports.is_empty() {
        config.insert("ExposedPorts".into(), set(ports));
    }
    let env: Vec<String> = free("env").into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    for (name, list) in [("Env", env), ("Entrypoint", values("entrypoint")), ("Cmd", values("command"))] {
        if !list.is_empty() {
            config.insert(name.into(), json!(list));
        }
    }
    if !values("volume").is_empty() {
        config.insert("Volumes".into(), set(values("volume")));
    }
    if let Some(folder) = node.text("workdir") {
        config.insert("WorkingDir".into(), json!(folder.value));
    }
    let labels = free("label");
    if !labels.is_empty() {
        config.insert("Labels".into(), json!(labels));
    }
    Value::Object(config)
}

fn checked_port(port: &Spanned<String>, faults: &mut Faults) -> Option<String> {
    let (number, protocol) = port.value.split_once('/').unwrap_or((&port.value, "tcp"));
    if number.parse::<u16>().is_ok_and(|number| number > 0) && matches!(protocol, "tcp" | "udp" | "sctp") {
        return Some(format!("{number}/{protocol}"));
    }
    faults.push(
        Fault::error("oci/port", format!("`{}` is not a port", crate::wording::printable(&port.value)))
            .at(&port.place, "this port")
            .help("write `\"80\"`, `\"80/tcp\"` or `\"53/udp\"`"),
    );
    None
}

impl OciOutput {
    /// OCI image configuration.
    pub(super) fn config(&self, epoch: i64, layers: &[Layered]) -> Value {
        let created = timestamp(epoch);
        let history: Vec<Value> = layers
            .iter()
            .map(|layer| json!({ "created": created, "created_by": format!("imgbuild {}", layer.step) }))
            .collect();
        let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", layer.diff_id)).collect();
        json!({
            "created": created,
            "architecture": self.arch,
            "os": "linux",
            "config": self.run,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": history,
        })
    }
}

/// RFC 3339 in UTC.
fn timestamp(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = crate::lang::value::civil_from_days(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}
