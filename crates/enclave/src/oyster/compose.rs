//! A compose file that says all of what runs, or is refused.
//!
//! An enclave on Oyster measures the compose file as text. The text means something only if nothing outside of it decides
//! what runs: each service must name its image by digest, and the file may not build, include, extend, or read variables.
//! Guarantees: a [`Compose`] that exists names every image by digest. Refuses to know what the images do.

use yaml_rust2::yaml::Hash;
use yaml_rust2::{Yaml, YamlLoader};

use super::params::MAX_CONTENT_BYTES;

/// Deepest nesting of brackets or of indentation: a reader of hostile text must not run out of stack.
const MAX_DEPTH: usize = 32;

/// Keys that let something outside of the file decide what runs, wherever they stand in a service.
const OUTSIDE_IN_SERVICE: [&str; 7] = [
    "build",
    "extends",
    "env_file",
    "label_file",
    "provider",
    "develop",
    "use_api_socket",
];

/// Keys that are understood at the top. What is not named here is not understood, so it is refused.
const TOP: [&str; 6] = [
    "services", "name", "version", "volumes", "networks", "configs",
];

/// A compose file whose images are fixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compose {
    text: String,
    images: Vec<PinnedImage>,
}

/// One service and the image it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedImage {
    /// The service's name.
    pub service: String,
    /// The image, with its digest.
    pub image: String,
}

impl Compose {
    /// Reads a compose file.
    ///
    /// # Errors
    /// [`ComposeError`] says what leaves open what runs, or cannot be understood.
    pub fn parse(text: &str) -> Result<Self, ComposeError> {
        if text.len() > MAX_CONTENT_BYTES {
            return Err(ComposeError::TooLong);
        }
        if is_deep(text) {
            return Err(ComposeError::Deep);
        }
        if has_variable(text) {
            return Err(ComposeError::Variable);
        }
        let documents = YamlLoader::load_from_str(text).map_err(|_| ComposeError::Yaml)?;
        let [Yaml::Hash(top)] = documents.as_slice() else {
            return Err(ComposeError::NotOneMap);
        };
        for key in keys(top)? {
            if !TOP.contains(&key) && !key.starts_with("x-") {
                return Err(ComposeError::Key {
                    key: key.to_owned(),
                });
            }
        }
        inline_configs(top)?;
        plain_volumes(top)?;
        let services = match value(top, "services") {
            Some(Yaml::Hash(services)) if !services.is_empty() => services,
            _ => return Err(ComposeError::NoService),
        };
        let images = keys(services)?
            .into_iter()
            .zip(services.values())
            .map(|(name, service)| pinned(name, service))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            text: text.to_owned(),
            images,
        })
    }

    /// The text, to the byte: this is what is measured.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What runs.
    #[must_use]
    pub fn images(&self) -> &[PinnedImage] {
        &self.images
    }
}

fn pinned(service: &str, says: &Yaml) -> Result<PinnedImage, ComposeError> {
    let Yaml::Hash(says) = says else {
        return Err(ComposeError::NoService);
    };
    let named = || service.to_owned();
    for key in keys(says)? {
        if OUTSIDE_IN_SERVICE.contains(&key) {
            return Err(ComposeError::Outside {
                service: named(),
                key: key.to_owned(),
            });
        }
    }
    if !are_plain_mounts(value(says, "volumes")) {
        return Err(ComposeError::Mount { service: named() });
    }
    match value(says, "image") {
        Some(Yaml::String(image)) if is_pinned(image) => Ok(PinnedImage {
            service: named(),
            image: image.clone(),
        }),
        Some(_) => Err(ComposeError::NotPinned { service: named() }),
        None => Err(ComposeError::NoImage { service: named() }),
    }
}

/// `name[:tag]@sha256:` and 64 hexadecimal digits in lower case, with nothing else in it.
fn is_pinned(image: &str) -> bool {
    let Some((name, digest)) = image.split_once("@sha256:") else {
        return false;
    };
    let named = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_./:".contains(&byte));
    named
        && digest.len() == 64
        && digest
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The keys of a map, which are texts, and none of which merges another map into this one.
fn keys(map: &Hash) -> Result<Vec<&str>, ComposeError> {
    map.keys()
        .map(|key| match key {
            Yaml::String(key) if key != "<<" => Ok(key.as_str()),
            _ => Err(ComposeError::Key {
                key: key.as_str().unwrap_or("not a text").to_owned(),
            }),
        })
        .collect()
}

fn value<'a>(map: &'a Hash, key: &str) -> Option<&'a Yaml> {
    map.get(&Yaml::String(key.to_owned()))
}

/// Configs may say their content; one that is read from elsewhere is not in the text.
fn inline_configs(top: &Hash) -> Result<(), ComposeError> {
    let configs = match value(top, "configs") {
        None => return Ok(()),
        Some(Yaml::Hash(configs)) => configs,
        Some(_) => return Err(ComposeError::Config),
    };
    for config in configs.values() {
        let inline = match config {
            Yaml::Hash(says) => keys(says)? == ["content"],
            _ => false,
        };
        if !inline {
            return Err(ComposeError::Config);
        }
    }
    keys(configs).map(drop)
}

/// Whether a service mounts folders, named volumes and memory only: another image's files are code that no digest names.
fn are_plain_mounts(mounts: Option<&Yaml>) -> bool {
    let plain = |mount: &Yaml| match mount {
        Yaml::String(_) => true,
        Yaml::Hash(says) => matches!(
            value(says, "type").and_then(Yaml::as_str),
            Some("bind" | "volume" | "tmpfs")
        ),
        _ => false,
    };
    match mounts {
        None => true,
        Some(Yaml::Array(mounts)) => mounts.iter().all(plain),
        Some(_) => false,
    }
}

/// Named volumes start empty; one with a driver or from outside brings files along.
fn plain_volumes(top: &Hash) -> Result<(), ComposeError> {
    let volumes = match value(top, "volumes") {
        None => return Ok(()),
        Some(Yaml::Hash(volumes)) => volumes,
        Some(_) => return Err(ComposeError::Volume),
    };
    let plain = |volume: &Yaml| match volume {
        Yaml::Null => true,
        Yaml::Hash(says) => says.is_empty(),
        _ => false,
    };
    if !volumes.values().all(plain) {
        return Err(ComposeError::Volume);
    }
    keys(volumes).map(drop)
}

/// Whether a variable would be put in from outside. A doubled dollar sign is a dollar sign.
fn has_variable(text: &str) -> bool {
    text.replace("$$", "").contains('$')
}

/// A rough bound that is never too low: each bracket, dash and indentation may open a level.
fn is_deep(text: &str) -> bool {
    let mut open = 0_usize;
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > MAX_DEPTH {
            return true;
        }
    }
    text.lines().any(|line| {
        let indent = line.bytes().take_while(|byte| b" -?:\t".contains(byte));
        indent.count() > 2 * MAX_DEPTH
    })
}

/// Why a compose file does not say what runs. The fault is its author's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ComposeError {
    /// Over [`MAX_CONTENT_BYTES`].
    #[error("the compose file is longer than {MAX_CONTENT_BYTES} bytes")]
    TooLong,
    /// Nested too deep.
    #[error("the compose file is nested too deep")]
    Deep,
    /// A variable, whose value would come from outside.
    #[error(
        "the compose file has a variable ($); its value would not be measured. write $$ for a dollar sign"
    )]
    Variable,
    /// Not YAML, or with doubled keys.
    #[error("the compose file is not yaml, or a key comes twice")]
    Yaml,
    /// Not one document that is a map.
    #[error("the compose file is not one map")]
    NotOneMap,
    /// A key that is not understood here.
    #[error(
        "the compose file has the key {key:?}, which this program does not understand, so it cannot say what runs"
    )]
    Key {
        /// The key.
        key: String,
    },
    /// No service, or one that is not a map.
    #[error("the compose file has no service, or one that is not a map")]
    NoService,
    /// A service that something outside decides about.
    #[error(
        "service {service:?} has {key:?}: something that is not measured would decide what runs"
    )]
    Outside {
        /// The service.
        service: String,
        /// The key.
        key: String,
    },
    /// A service without an image.
    #[error("service {service:?} names no image")]
    NoImage {
        /// The service.
        service: String,
    },
    /// A service whose image is named by a tag.
    #[error(
        "service {service:?} must name its image by digest (name@sha256:...): a tag can be moved to another image"
    )]
    NotPinned {
        /// The service.
        service: String,
    },
    /// A service that mounts something else than folders, named volumes and memory.
    #[error(
        "service {service:?} mounts what is neither a folder, a named volume nor memory: its files would not be measured"
    )]
    Mount {
        /// The service.
        service: String,
    },
    /// A named volume that does not start empty.
    #[error(
        "every volume must be a plain one: a driver, or a volume from outside, brings files that are not measured"
    )]
    Volume,
    /// A config whose content is elsewhere.
    #[error("every config must say its content in the compose file")]
    Config,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn with(service: &str) -> String {
        format!("services:\n  node:\n    image: r.example/node:1@sha256:{DIGEST}\n{service}")
    }

    #[test]
    fn the_images_of_a_fixed_file_are_listed() {
        let text = with("    command: [\"a\", \"b $$ c\"]\n  other:\n    image: \"o@sha256:")
            + DIGEST
            + "\"\nconfigs:\n  c:\n    content: |\n      a = 1\nx-more: {}\n";
        let compose = Compose::parse(&text).unwrap();
        assert_eq!(compose.text(), text);
        let images: Vec<_> = compose
            .images()
            .iter()
            .map(|image| image.service.as_str())
            .collect();
        assert_eq!(images, ["node", "other"]);
        assert_eq!(compose.images()[1].image, format!("o@sha256:{DIGEST}"));
    }

    #[test]
    fn an_image_that_can_be_moved_is_refused() {
        for image in [
            "node".to_owned(),
            "node:latest".to_owned(),
            "'node@sha256:'".to_owned(),
            format!("node@sha256:{}", &DIGEST[1..]),
            format!("node@sha256:{DIGEST}0"),
            format!("node@sha256:{}", DIGEST.to_uppercase()),
            format!("node@sha512:{DIGEST}"),
            format!("'@sha256:{DIGEST}'"),
            format!("'node@sha256:{DIGEST} '"),
            format!("[node@sha256:{DIGEST}]"),
            "7".to_owned(),
        ] {
            let text = format!("services:\n  node:\n    image: {image}\n");
            let refused = Compose::parse(&text);
            let service = "node".to_owned();
            assert_eq!(refused, Err(ComposeError::NotPinned { service }), "{image}");
        }
        let service = "node".to_owned();
        let none = Compose::parse("services:\n  node:\n    command: a\n");
        assert_eq!(none, Err(ComposeError::NoImage { service }));
    }

    #[test]
    fn one_service_that_is_not_pinned_is_enough() {
        let text = with("  other: { image: 'node:1' }\n");
        let service = "other".to_owned();
        assert_eq!(
            Compose::parse(&text),
            Err(ComposeError::NotPinned { service })
        );
    }

    #[test]
    fn what_is_outside_of_the_text_must_not_decide() {
        for key in OUTSIDE_IN_SERVICE {
            let refused = Compose::parse(&with(&format!("    {key}: a\n")));
            let service = "node".to_owned();
            let key = key.to_owned();
            assert_eq!(refused, Err(ComposeError::Outside { service, key }));
        }
        for key in ["include", "secrets", "models", "anything"] {
            let refused = Compose::parse(&with(&format!("{key}: a\n")));
            let key = key.to_owned();
            assert_eq!(refused, Err(ComposeError::Key { key }));
        }
        for text in [
            "    command: ${A}\n",
            "    command: $A\n",
            "    command: $$$A\n",
        ] {
            assert_eq!(
                Compose::parse(&with(text)),
                Err(ComposeError::Variable),
                "{text}"
            );
        }
        for config in [
            "file: ./a",
            "external: true",
            "environment: A",
            "content: a\n    file: b",
        ] {
            let text = with(&format!("configs:\n  c:\n    {config}\n"));
            assert_eq!(Compose::parse(&text), Err(ComposeError::Config), "{config}");
        }
    }

    #[test]
    fn files_of_other_images_and_of_networks_are_refused() {
        for mount in [
            "a",
            "{ type: image, source: 'other:1', target: /a }",
            "[{ type: image, source: 'other:1', target: /a }]",
            "[{ source: a, target: /a }]",
            "[{ type: npipe }]",
            "[7]",
        ] {
            let refused = Compose::parse(&with(&format!("    volumes: {mount}\n")));
            let service = "node".to_owned();
            assert_eq!(refused, Err(ComposeError::Mount { service }), "{mount}");
        }
        for volume in ["{ external: true }", "{ driver_opts: { type: nfs } }", "a"] {
            let refused = Compose::parse(&with(&format!("volumes: {{ v: {volume} }}\n")));
            assert_eq!(refused, Err(ComposeError::Volume), "{volume}");
        }
        let plain = "    volumes: ['/a:/b:ro', { type: tmpfs, target: /t }, 'v:/v']\nvolumes: { v: , w: {} }\n";
        assert!(Compose::parse(&with(plain)).is_ok());
    }

    #[test]
    fn what_another_reader_could_read_otherwise_is_refused() {
        let image = format!("image: node@sha256:{DIGEST}");
        for (text, reason) in [
            (String::new(), ComposeError::NotOneMap),
            ("a: 1\n---\nb: 2\n".to_owned(), ComposeError::NotOneMap),
            ("- a\n".to_owned(), ComposeError::NotOneMap),
            ("services:\n".to_owned(), ComposeError::NoService),
            ("services: {}\n".to_owned(), ComposeError::NoService),
            ("services: { a: b }\n".to_owned(), ComposeError::NoService),
            (
                format!("services:\n  a:\n    {image}\n    image: b\n"),
                ComposeError::Yaml,
            ),
            (
                format!("services:\n  a:\n    {image}\nservices:\n  b:\n    image: c\n"),
                ComposeError::Yaml,
            ),
            (
                format!("services:\n  a: &a\n    {image}\n  b:\n    <<: *a\n"),
                ComposeError::Key {
                    key: "<<".to_owned(),
                },
            ),
            (
                format!("services:\n  7:\n    {image}\n"),
                ComposeError::Key {
                    key: "not a text".to_owned(),
                },
            ),
        ] {
            assert_eq!(Compose::parse(&text), Err(reason), "{text}");
        }
    }

    #[test]
    fn long_and_deep_texts_are_refused_before_they_are_read() {
        let mut long = with("");
        long.push('#');
        long.extend(std::iter::repeat_n('x', MAX_CONTENT_BYTES - long.len()));
        assert!(Compose::parse(&long).is_ok());
        long.push('x');
        assert_eq!(Compose::parse(&long), Err(ComposeError::TooLong));
        for deep in [
            "[".repeat(60_000),
            "{".repeat(33),
            "- ".repeat(20_000),
            " ".repeat(70) + "a: 1",
        ] {
            assert_eq!(Compose::parse(&deep), Err(ComposeError::Deep));
        }
    }
}
