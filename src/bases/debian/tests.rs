use super::*;
use crate::deb::Variant;

fn place() -> Place {
    Place::new(&crate::fault::Source::new("image.kdl", "base"), 0..4)
}

fn spec(distribution: &str, suite: &str, mirrors: Vec<Mirror>) -> Spec {
    Spec {
        place: place(),
        distribution: distribution.into(),
        suite: Spanned::new(suite.into(), &place()),
        arch: "amd64".into(),
        variant: Variant::Minbase,
        components: words::components_of(distribution),
        mirrors,
        states_mirrors: true,
        snapshots: Vec::new(),
        repositories: Vec::new(),
        proxy: None,
        keyring: None,
        check_valid_until: true,
    }
}

fn mirror(url: &str, suites: &[&str]) -> Mirror {
    let suites = suites.iter().map(|suite| String::from(*suite)).collect();
    Mirror { urls: vec![url.into()], suites, place: None }
}

fn told(sources: Result<Vec<Source>, Fault>) -> Vec<String> {
    match sources {
        Ok(sources) => sources
            .iter()
            .map(|source| {
                format!("{}: {} {}", source.name, source.mirrors.join(" "), source.components.join(" "))
            })
            .collect(),
        Err(fault) => vec![fault.to_string()],
    }
}

fn wish(suite: &str) -> Wish {
    Wish {
        name: Spanned::new("curl".into(), &place()),
        version: None,
        suite: Some(Spanned::new(suite.into(), &place())),
        out: false,
        hold: false,
        list: None,
    }
}

#[test]
fn a_mirror_has_the_suites_of_its_distribution() {
    let host = [mirror("http://a/debian-security", &["*-security"]), mirror("http://a/debian", &[])];
    assert_eq!(
        told(spec("debian", "trixie", Vec::new()).sources(&host, &[])),
        [
            "debian trixie: http://a/debian main",
            "debian-security trixie-security: http://a/debian-security main",
            "debian trixie-updates: http://a/debian main",
        ]
    );
    let ubuntu = spec("ubuntu", "noble", vec![mirror("http://u", &[])]);
    assert_eq!(
        told(ubuntu.sources(&host, &[])),
        [
            "ubuntu noble: http://u main universe",
            "ubuntu noble-updates: http://u main universe",
            "ubuntu noble-security: http://u main universe",
        ]
    );
    assert_eq!(
        told(spec("debian", "sid", Vec::new()).sources(&host[1..], &[])),
        ["debian sid: http://a/debian main"]
    );
}

#[test]
fn mirrors_of_one_suite_are_one_source() {
    let mirrors = vec![mirror("http://a", &["*"]), mirror("http://b", &["*"]), mirror("http://a", &["*"])];
    let spec = spec("debian", "trixie", mirrors);
    assert_eq!(
        told(spec.sources(&[], &[wish("trixie-backports"), wish("trixie")])),
        ["debian trixie: http://a http://b main", "debian trixie-backports: http://a http://b main"]
    );
}

#[test]
fn without_a_mirror_of_the_suite_there_is_nothing_to_choose_from() {
    assert_eq!(
        told(spec("debian", "trixie", Vec::new()).sources(&[], &[])),
        ["no mirror of debian is known"]
    );
    let security = vec![mirror("http://a", &["*-security"])];
    assert_eq!(
        told(spec("debian", "trixie", security).sources(&[], &[])),
        ["no mirror has the suite `trixie` itself"]
    );
}
