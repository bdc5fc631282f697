//! The JSON Schemas in `schema/` are those of the program, and what the program says fits them.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "a test ends so")]

mod space;

use std::path::PathBuf;

use imgbuild::cli::schemas;
use serde_json::Value;
use space::Space;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schema")
}

#[test]
fn the_committed_schemas_are_current() {
    #[allow(clippy::disallowed_methods, reason = "how they are written again")]
    let update = std::env::var_os("IMGBUILD_UPDATE").is_some();
    for (name, text) in schemas::all() {
        let path = folder().join(format!("{name}.schema.json"));
        if update {
            std::fs::create_dir_all(folder()).expect("a folder");
            std::fs::write(&path, &text).expect("written");
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "{} is not current: run `IMGBUILD_UPDATE=1 cargo test --test schemas`",
            path.display()
        );
    }
}

#[test]
fn what_the_program_says_fits_its_schemas() {
    let space = Space::new(
        "image \"a\" {\n    overlays \"site\"\n    files {\n        file \"/f\" content=\"f\"\n    }\n    output \"tar\"\n}\n",
    );
    space.write("overlays/site/etc/motd", "hello\n").link("overlays/site/l", "etc/motd");
    fits("targets", &space, "ls --json");
    fits("plan", &space, "plan --json");
    fits("build", &space, "build --json");
    fits("ls", &space, "ls a --json");
    fits("ls", &space, "overlay site --json");
    fits("flavours", &space, "flavours --json");
    fits("diff", &space, "diff site a --json");
    fits("cache", &space, "cache list --json");
    space.write("overlays/site/etc/motd", "changed\n");
    fits("why", &space, "why output:tar@a --json");
    fits("plan", &space, "plan --json");
    space.write("image.kdl", "image \"a\" {\n    ouptut \"tar\"\n}\n");
    fits("check", &space, "check --message-format json");
}

/// Holds every value that the command answers against the schema: one document, or a line each.
fn fits(name: &str, space: &Space, line: &str) {
    let text = schemas::all().into_iter().find(|(other, _)| *other == name).expect(name).1;
    let schema: Value = serde_json::from_str(&text).expect("a schema");
    // As it is: times are numbers.
    let arguments: Vec<&str> = line.split_whitespace().collect();
    let out = space.command(&arguments).output().expect("imgbuild runs").stdout;
    let values: Vec<Value> =
        serde_json::Deserializer::from_slice(&out).into_iter().collect::<Result<_, _>>().expect(line);
    assert!(!values.is_empty(), "{line} answers nothing");
    for value in values {
        if let Err(why) = check(&value, &schema, &schema) {
            panic!("imgbuild {line}: {why}\n{value:#}");
        }
    }
}

/// As much of JSON Schema as the schemas here use; a keyword that is not known is an error.
fn check(value: &Value, schema: &Value, root: &Value) -> Result<(), String> {
    let Some(keywords) = schema.as_object() else {
        return if schema == &Value::Bool(false) { Err("nothing is allowed".into()) } else { Ok(()) };
    };
    for (keyword, rule) in keywords {
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "format" | "default" => {}
            "$ref" => {
                let path = rule.as_str().and_then(|path| path.strip_prefix('#')).unwrap_or_default();
                check(value, root.pointer(path).ok_or(format!("no {path}"))?, root)?;
            }
            "type" => has_type(value, rule)?,
            "const" if value == rule => {}
            "enum" if rule.as_array().is_some_and(|choice| choice.contains(value)) => {}
            // It is about numbers, and says nothing of what else there may be.
            "minimum" if !value.is_number() || value.as_f64() >= rule.as_f64() => {}
            "const" | "enum" | "minimum" => return Err(format!("{value} against {keyword} {rule}")),
            "required" => {
                let missing = rule.as_array().into_iter().flatten().filter_map(Value::as_str);
                if let Some(missing) = missing.into_iter().find(|name| value.get(name).is_none()) {
                    return Err(format!("`{missing}` is missing"));
                }
            }
            "properties" => properties(value, rule, root)?,
            "items" => {
                value.as_array().into_iter().flatten().try_for_each(|item| check(item, rule, root))?;
            }
            "oneOf" | "anyOf" => {
                let choice = rule.as_array().into_iter().flatten();
                let fitting = choice.filter(|schema| check(value, schema, root).is_ok()).count();
                if fitting == 0 || (keyword == "oneOf" && fitting > 1) {
                    return Err(format!("{value} fits {fitting} of {keyword}"));
                }
            }
            other => return Err(format!("this test does not know `{other}`")),
        }
    }
    Ok(())
}

fn properties(value: &Value, rules: &Value, root: &Value) -> Result<(), String> {
    let Some(object) = value.as_object() else { return Ok(()) };
    for (name, inside) in object {
        // Nothing may be said that no schema tells of.
        let rule = rules.get(name).ok_or(format!("`{name}` is not described"))?;
        check(inside, rule, root).map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(())
}

fn has_type(value: &Value, rule: &Value) -> Result<(), String> {
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    };
    let names = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
    match names.iter().filter_map(Value::as_str).any(is) {
        true => Ok(()),
        false => Err(format!("{value} is not {rule}")),
    }
}
