//! Filters: which paths of a folder count.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Which paths count: those that match an include (or all, if there is none) and no exclude.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    include: Option<GlobSet>,
    exclude: Option<GlobSet>,
    text: String,
}

/// A pattern that makes no sense, and why.
#[derive(Debug)]
pub struct BadGlob {
    /// Its position in the list.
    pub position: usize,
    /// Why.
    pub what: String,
}

impl Filter {
    /// Everything counts.
    pub fn all() -> Filter {
        Filter::default()
    }

    /// A filter of patterns; a pattern without a slash matches a name at any depth.
    pub fn new<T: AsRef<str>>(include: &[T], exclude: &[T]) -> Result<Filter, BadGlob> {
        let mut text = String::new();
        for (word, patterns) in [("include", include), ("exclude", exclude)] {
            patterns.iter().for_each(|pattern| text.push_str(&format!("{word} {}\n", pattern.as_ref())));
        }
        Ok(Filter { include: set(include)?, exclude: set(exclude)?, text })
    }

    /// The patterns, a line each: what a key states.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the path is left out, with all that is below it.
    pub fn excludes(&self, path: &[u8]) -> bool {
        self.exclude.as_ref().is_some_and(|set| set.is_match(as_path(path)))
    }

    /// Whether the path is taken for its own sake.
    pub fn includes(&self, path: &[u8]) -> bool {
        self.include.as_ref().is_none_or(|set| set.is_match(as_path(path)))
    }

    /// Whether folders are taken only for what is in them.
    pub fn is_selective(&self) -> bool {
        self.include.is_some()
    }
}

/// A pattern without a slash matches a name at any depth; with one, even in front, the path from the top.
pub fn anchored(pattern: &str) -> String {
    let whole = pattern.trim_matches('/');
    if pattern.trim_end_matches('/').contains('/') { whole.to_string() } else { format!("**/{whole}") }
}

fn as_path(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

fn set<T: AsRef<str>>(patterns: &[T]) -> Result<Option<GlobSet>, BadGlob> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let mut builder = GlobSetBuilder::new();
    for (position, pattern) in patterns.iter().enumerate() {
        let bad = |error: globset::Error| BadGlob { position, what: error.kind().to_string() };
        let whole = anchored(pattern.as_ref());
        builder.add(
            GlobBuilder::new(&whole).literal_separator(true).backslash_escape(true).build().map_err(bad)?,
        );
        // What is in a folder that matches counts as matching.
        builder.add(GlobBuilder::new(&format!("{whole}/**")).literal_separator(true).build().map_err(bad)?);
    }
    builder.build().map(Some).map_err(|error| BadGlob { position: 0, what: error.kind().to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_anywhere_and_paths_from_the_top() {
        let filter = Filter::new(&["etc/**/*.conf", "README"], &["*~", "etc/secret"]).expect("patterns");
        assert!(filter.includes(b"etc/nginx/site.conf"));
        assert!(filter.includes(b"usr/README"));
        assert!(!filter.includes(b"usr/etc/a.conf"));
        assert!(filter.excludes(b"a/b/c~"));
        assert!(filter.excludes(b"etc/secret/key"));
        assert!(!filter.excludes(b"etc/secrets"));
        assert!(Filter::new(&["a[b"], &[]).is_err());
    }
}
