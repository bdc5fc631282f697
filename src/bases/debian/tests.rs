use super::*;
use crate::deb::Wish;

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

fn told(sources: Result<Vec<Source>, crate::fault::Fault>) -> Vec<String> {
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
    let debian = vec![mirror("http://a/debian-security", &["*-security"]), mirror("http://a/debian", &[])];
    assert_eq!(
        told(spec("debian", "trixie", debian.clone()).sources(&[], &[])),
        [
            "debian trixie: http://a/debian main",
            "debian-security trixie-security: http://a/debian-security main",
            "debian trixie-updates: http://a/debian main",
        ]
    );
    let ubuntu = spec("ubuntu", "noble", vec![mirror("http://u", &[])]);
    assert_eq!(
        told(ubuntu.sources(&[], &[])),
        [
            "ubuntu noble: http://u main universe",
            "ubuntu noble-updates: http://u main universe",
            "ubuntu noble-security: http://u main universe",
        ]
    );
    let sid = spec("debian", "sid", debian[1..].to_vec());
    assert_eq!(told(sid.sources(&[], &[])), ["debian sid: http://a/debian main"]);
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

#[test]
fn the_hosts_sources_count_for_want_of_mirrors_and_only_by_where_they_are() {
    let host = Source {
        name: "debian trixie".into(),
        mirrors: vec!["http://h".into()],
        suite: "trixie".into(),
        components: vec!["main".into(), "non-free".into()],
        keyring: Some("/host.gpg".into()),
        check_valid_until: false,
        place: None,
    };
    let mut spec = spec("debian", "trixie", Vec::new());
    let sources = spec.sources(std::slice::from_ref(&host), &[wish("sid")]).expect("sources");
    let expected = Source { components: vec!["main".into()], ..host.clone() };
    let sid = Source { name: "debian sid".into(), suite: "sid".into(), ..expected.clone() };
    assert_eq!(sources, [expected, sid]);
    spec.mirrors = vec![mirror("http://a", &["*"])];
    assert_eq!(told(spec.sources(&[host], &[])), ["debian trixie: http://a main"]);
}

#[test]
fn a_snapshot_is_of_the_suites_that_a_mirror_would_have() {
    let mut spec = spec("debian", "trixie", Vec::new());
    spec.snapshots = vec![mirror("http://s/debian", &[]), mirror("http://s/security", &["*-security"])];
    assert_eq!(spec.snapshot_urls("trixie-updates"), ["http://s/debian"]);
    assert_eq!(spec.snapshot_urls("trixie-security"), ["http://s/security"]);
    assert_eq!(spec.snapshot_urls("trixie-backports"), ["http://s/debian"]);
}
