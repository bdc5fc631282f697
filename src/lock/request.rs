//! What a set of packages is solved for, as lines of text.
//!
//! Everything that decides which packages are chosen stands in it but what the archive has on the day: not where the
//! archive is fetched from, nor which list asks.

use crate::bases::debian::{Spec, variant_name};
use crate::deb::Wish;

/// The id of a base's solution: `base debian trixie amd64 minbase`.
pub fn base_id(spec: &Spec) -> String {
    let Spec { distribution, suite, arch, variant, .. } = spec;
    format!("base {distribution} {} {arch} {}", suite.value, variant_name(*variant))
}

/// The id of the solution of an image, or of one of its hypervisors: `image server hypervisor qemu`.
pub fn image_id(image: &str, hypervisor: Option<&str>) -> String {
    match hypervisor {
        Some(hypervisor) => format!("image {image} hypervisor {hypervisor}"),
        None => format!("image {image}"),
    }
}

/// The id of the solution of a package that outputs are written with: `tools erofs-utils`.
pub fn tools_id(package: &str) -> String {
    format!("tools {package}")
}

/// What a base is solved for.
pub fn base_request(spec: &Spec) -> Vec<String> {
    let mut lines = vec![
        format!("distribution {}", spec.distribution),
        format!("suite {}", spec.suite.value),
        format!("arch {}", spec.arch),
        format!("variant {}", variant_name(spec.variant)),
        format!("components {}", spec.components.join(" ")),
    ];
    // Sorted, since their order decides nothing.
    let mut repositories: Vec<String> = spec
        .repositories
        .iter()
        .map(|source| {
            let components = source.components.iter().map(|name| format!(" {name}")).collect::<String>();
            format!("repository {} {}{components}", source.name, source.suite)
        })
        .collect();
    repositories.sort();
    lines.extend(repositories);
    lines
}

/// What packages on top of a base are solved for: all that the target asks for, also below a hypervisor.
pub fn request(spec: &Spec, wishes: &[Wish], recommends: bool) -> Vec<String> {
    let mut lines = base_request(spec);
    lines.extend(recommends.then(|| String::from("recommends")));
    let mut asked: Vec<String> = wishes.iter().map(line).collect();
    asked.sort();
    lines.extend(asked);
    lines
}

/// `package curl version=8.14.* suite=sid`, `without nano`.
fn line(wish: &Wish) -> String {
    let name = &wish.name.value;
    if wish.out {
        return format!("without {name}");
    }
    let version = wish.version.iter().map(|version| format!(" version={}", version.value));
    let suite = wish.suite.iter().map(|suite| format!(" suite={}", suite.value));
    format!("package {name}{}", version.chain(suite).collect::<String>())
}
