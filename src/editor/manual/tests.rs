use std::collections::BTreeSet;

use super::*;

#[test]
fn a_page_says_what_the_table_says() {
    let page = word("output tar").expect("a word");
    assert_eq!(
        page,
        "\
output \"tar\": the image as one tar

    output \"tar\" [compression=none|gzip|xz|zstd] [level=NUMBER] [path=PATH]

A kind of `output`.

In the order of its paths, owners as numbers, with extended attributes, hard
links and devices (`pax` format). Compressed on all cores; what did not change
since the last time is not compressed again.

PROPERTIES
    compression=none|gzip|xz|zstd
        How it is compressed.
        (`none`, `gzip`, `xz` or `zstd`; default: none)
    level=NUMBER
        How hard to compress: gzip 1 to 9, xz 0 to 9, zstd 1 to 22.
        (a whole number from 0 to 22; default: gzip 6, xz 6, zstd 3)
    path=PATH
        The file, or the folder, that is written; a relative path starts at the
        project's folder.
        (a path; default: build/IMAGE-HYPERVISOR.EXT)

EXAMPLE
    image \"server\" {
        overlays \"site\"
        output \"tar\" compression=\"zstd\" level=9
    }
"
    );
}

#[test]
fn every_page_fits_a_terminal() {
    for topic in words() {
        let page = word(&topic.title).expect("a word");
        let (told, example) = page.split_once("\nEXAMPLE\n").expect("an example");
        let wide: Vec<&str> = told.lines().filter(|line| line.chars().count() > flow::WIDTH).collect();
        assert_eq!(wide, Vec::<&str>::new(), "the page on `{}`", topic.title);
        let wide = example.lines().find(|line| line.chars().count() > flow::WIDTH + 20);
        assert_eq!(wide, None, "the example of `{}`", topic.title);
    }
}

#[test]
fn a_page_leads_to_words_of_the_same_name() {
    assert!(
        word("include").expect("a word").ends_with("OF THE SAME NAME\n    `imgbuild help overlay include`\n")
    );
    assert!(!word("overlay include").expect("a word").contains("OF THE SAME NAME"));
}

#[test]
fn every_link_of_the_reference_leads_somewhere() {
    let text = reference();
    let headings: Vec<String> = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches(['#', ' ']).replace('`', "").to_lowercase().replace(' ', "-"))
        .collect();
    let anchors: BTreeSet<&str> = headings.iter().map(String::as_str).collect();
    assert_eq!(anchors.len(), headings.len(), "no two headings are called the same");
    let links: Vec<&str> = text.split("](#").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    let dead: Vec<&&str> = links.iter().filter(|link| !anchors.contains(**link)).collect();
    assert!(links.len() > words().len() && dead.is_empty(), "these lead nowhere: {dead:?}");
}
