use kdl::{KdlDocument, KdlNode};

use super::*;
use crate::fault::Source;
use crate::lang::syntax;

fn parsed(name: &str, text: String) -> KdlDocument {
    syntax::parse(&Source::new(name, text)).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

/// The schema, read back: every node of it that describes a node, by its id.
struct Read {
    document: KdlDocument,
}

impl Read {
    fn block<'a>(&'a self, node: &'a KdlNode, name: &str) -> Vec<&'a KdlNode> {
        let block = node.children().into_iter().flat_map(KdlDocument::nodes);
        block.filter(|child| child.name().value() == name).collect()
    }

    /// The node that `node` refers to, or itself.
    fn resolved<'a>(&'a self, node: &'a KdlNode) -> &'a KdlNode {
        let Some(reference) = node.get("ref").and_then(|value| value.as_string()) else { return node };
        let id =
            reference.strip_prefix("[id = ").and_then(|id| id.strip_suffix(']')).expect("a query for an id");
        let root = self.document.get("document").expect("a document");
        let definitions = self.block(root, "definitions").pop().expect("definitions");
        let mut found = self.block(definitions, "node");
        found.retain(|node| node.get("id").and_then(|value| value.as_string()) == Some(id));
        assert_eq!(found.len(), 1, "one definition is called `{id}`");
        found.remove(0)
    }

    /// What of `nodes` the schema does not know in a block.
    fn unknown(&self, nodes: &[KdlNode], block: &KdlNode, unknown: &mut Vec<String>) {
        for node in nodes {
            let name = node.name().value();
            let rules = self.block(block, "node");
            let named = rules.iter().find(|rule| argument(rule) == Some(name));
            // A rule without a name is for all other nodes.
            let free = !self.block(block, "other-nodes-allowed").is_empty();
            let free = rules.iter().find(|rule| free && argument(rule).is_none());
            let Some(rule) = named.or(free) else {
                unknown.push(name.to_string());
                continue;
            };
            let rule = self.resolved(rule);
            for property in node.entries().iter().filter_map(|entry| entry.name()) {
                let known =
                    self.block(rule, "prop").into_iter().any(|prop| argument(prop) == Some(property.value()));
                if !known && self.block(rule, "other-props-allowed").is_empty() {
                    unknown.push(format!("{name} {}", property.value()));
                }
            }
            if node.entries().iter().any(|entry| entry.name().is_none())
                && self.block(rule, "value").is_empty()
            {
                unknown.push(format!("a value of {name}"));
            }
            if let (Some(children), Some(block)) = (node.children(), self.block(rule, "children").first()) {
                self.unknown(children.nodes(), block, unknown);
            }
        }
    }
}

fn argument(node: &KdlNode) -> Option<&str> {
    node.entries().iter().find(|entry| entry.name().is_none()).and_then(|entry| entry.value().as_string())
}

#[test]
fn every_example_fits_the_schema() {
    fit(kdl(), words_of(manifest::words::TOP));
    fit(lock(), words_of(locks::words::TOP));
}

fn fit(schema: String, topics: Vec<Topic>) {
    let schema = Read { document: parsed("schema", schema) };
    let root = schema.document.get("document").expect("a document");
    for topic in topics {
        let example = parsed(&topic.title, topic.word.example.to_string());
        let mut unknown = Vec::new();
        schema.unknown(example.nodes(), root, &mut unknown);
        assert_eq!(unknown, Vec::<String>::new(), "in the example of `{}`", topic.title);
    }
}

#[test]
fn the_schema_is_no_looser_than_it_must_be() {
    let schema = Read { document: parsed("schema", kdl()) };
    let root = schema.document.get("document").expect("a document");
    let wrong = "image \"a\" colour=\"red\" { when A=\"b\" { when A=\"b\" { zebra; output \"tar\" weight=1; packages {                  curl colour=1 } } } }\nlink\n";
    let mut unknown = Vec::new();
    schema.unknown(parsed("wrong", wrong.to_string()).nodes(), root, &mut unknown);
    assert_eq!(unknown, ["image colour", "zebra", "output weight", "curl colour", "link"]);
}

#[test]
fn what_is_in_a_string_stays_in_it() {
    assert_eq!(quoted("a \"b\" \\c\n"), r#""a \"b\" \\c\n""#);
}
