//! `oyster`: what an enclave that runs a compose file on Marlin Oyster measures, as a policy or as JSON.

use std::error::Error;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use adyton_enclave::oyster::params::{MAX_CONTENT_BYTES, Measured};
use adyton_enclave::oyster::{BaseImage, Compose, InitParam, InitParams, policy};
use serde_json::json;

use crate::args::Oyster;

/// Where compose files get variables from without saying so.
const VARIABLES_FILE: &str = ".env";

pub(crate) fn run(args: &Oyster) -> Result<String, Box<dyn Error>> {
    let text = String::from_utf8(read(&args.compose)?)
        .map_err(|_| format!("{}: not a text", args.compose.display()))?;
    let compose =
        Compose::parse(&text).map_err(|error| format!("{}: {error}", args.compose.display()))?;
    let base = base(args)?;
    let others = args
        .init_params
        .iter()
        .map(|spec| param(spec))
        .collect::<Result<_, _>>()?;
    let params = InitParams::new(text.into_bytes(), others)?;
    let config = args.config.as_deref().map(read).transpose()?;
    if args.json {
        let mut pcrs: Vec<(String, String)> = (0..)
            .zip(base.pcrs().map(hex::encode))
            .map(|(index, value): (u8, _)| (index.to_string(), value))
            .collect();
        pcrs.push(("16".to_owned(), hex::encode(params.pcr16())));
        let images: Vec<_> = compose
            .images()
            .iter()
            .map(|image| json!({ "service": image.service, "image": image.image }))
            .collect();
        let value = json!({
            "images": images,
            "digest": hex::encode(params.digest()),
            "pcrs": pcrs.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            "image_id": hex::encode(params.image_id(&base)),
        });
        return Ok(serde_json::to_string_pretty(&value)? + "\n");
    }
    Ok(policy::policy(&compose, &params, &base, config.as_deref()))
}

fn base(args: &Oyster) -> Result<BaseImage, Box<dyn Error>> {
    match (&args.preset, &args.pcr0, &args.pcr1, &args.pcr2) {
        (Some(name), None, None, None) => Ok(name.parse()?),
        (None, Some(pcr0), Some(pcr1), Some(pcr2)) => Ok(BaseImage::new([pcr0, pcr1, pcr2])?),
        _ => Err("name the base image: --preset NAME, or --pcr0, --pcr1 and --pcr2".into()),
    }
}

/// `path:attest:encrypt:utf8|file:value`, as Oyster's own command line takes it. What is encrypted is measured in plain.
fn param(spec: &str) -> Result<InitParam, Box<dyn Error>> {
    let form = || format!("{spec:?}: not of the form path:attest:encrypt:utf8|file:value");
    let mut parts = spec.splitn(5, ':');
    let mut part = || parts.next().ok_or_else(form);
    let (path, attest, encrypt, kind, value) = (part()?, part()?, part()?, part()?, part()?);
    let measured = match (attest, encrypt) {
        ("1", "0" | "1") => Measured::Yes,
        ("0", "0" | "1") => Measured::No,
        _ => return Err(form().into()),
    };
    if path == VARIABLES_FILE {
        return Err("a param .env would give the compose file variables".into());
    }
    let content = match kind {
        "utf8" => value.as_bytes().to_vec(),
        "file" => read(Path::new(value))?,
        _ => return Err(form().into()),
    };
    Ok(InitParam::new(path, content, measured).map_err(|error| format!("{path:?}: {error}"))?)
}

fn read(path: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bytes = Vec::new();
    // One byte more than allowed, so that a longer file is refused and not cut.
    let most = MAX_CONTENT_BYTES as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(most).read_to_end(&mut bytes))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    if bytes.len() > MAX_CONTENT_BYTES {
        return Err(format!("{}: longer than {MAX_CONTENT_BYTES} bytes", path.display()).into());
    }
    Ok(bytes)
}
