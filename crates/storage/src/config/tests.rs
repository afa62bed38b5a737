use super::*;

#[test]
fn a_file_names_what_flags_name() {
    let text = "listen = \"127.0.0.1:0\"\ndata = \"d\"\npublic-url = \"https://node.example:443/\"\nnetwork = \"myrtle\"\n";
    let config = ConfigFile::parse(text).unwrap().into_config().unwrap();
    assert_eq!(
        config.public_url.as_deref(),
        Some("https://node.example:443")
    );
    assert_eq!(config.network, Network::Myrtle);
    assert_eq!(config.limits, Limits::default());
}

fn with(lines: &str) -> Result<Config, ConfigError> {
    let text = format!("listen = \"127.0.0.1:0\"\ndata = \"d\"\n{lines}");
    ConfigFile::parse(&text)?.into_config()
}

#[test]
fn proxies_are_named_or_are_everybody() {
    let proxy = |lines: &str| with(lines).map(|config| config.proxy);
    assert_eq!(proxy("").unwrap(), Proxy::None);
    assert_eq!(proxy("behind-proxy = true").unwrap(), Proxy::Trusted);
    let named = Proxy::At(vec!["10.0.0.2".parse().unwrap(), "::1".parse().unwrap()]);
    assert_eq!(proxy("proxies = [\"10.0.0.2\", \"::1\"]").unwrap(), named);
    for wrong in [
        "behind-proxy = true\nproxies = [\"10.0.0.2\"]",
        "proxies = [\"proxy.example\"]",
    ] {
        assert!(proxy(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn where_few_files_may_be_open_fewer_connections_are() {
    let fitted = |allowed: u64| {
        let mut limits = Limits::default();
        limits.fit_into(allowed);
        (limits.connections, limits.open_databases)
    };
    let wanted = Limits::default().open_files();
    assert_eq!(fitted(wanted), (4_096, 256));
    assert_eq!(fitted(wanted - 1_000), (3_096, 256));
    assert_eq!(fitted(1_024), (256, 128));
    assert_eq!(fitted(1), (1, 1));
}

#[test]
fn a_registry_has_its_own_settings_and_no_others() {
    let choice = |lines: &str| with(lines).unwrap().registry;
    let url = |text: &str| Url::parse(text).unwrap();
    assert_eq!(choice(""), RegistryChoice::Own);
    assert_eq!(
        choice("[did]\nregistry = \"chain\""),
        RegistryChoice::Chain(vec![])
    );
    let rpc =
        "[did]\nregistry = \"chain\"\nrpc = [\"https://a.example/x\", \"https://b.example/\"]";
    let rpc_urls = vec![url("https://a.example/x"), url("https://b.example/")];
    assert_eq!(choice(rpc), RegistryChoice::Chain(rpc_urls));
    let own =
        "[did]\nregistry = \"chain\"\nallow-loopback = true\nrpc = [\"http://127.0.0.1:8545/\"]";
    // The flag is about the servers that are named, not about whatever else listens here.
    let reach = with(own).unwrap().reach;
    assert!(reach.check(&url("http://127.0.0.1:8545/")).is_ok());
    assert!(reach.check(&url("http://127.0.0.1:5984/")).is_err());
    let directory = "[did]\nregistry = \"directory\"\ndirectories = [\"https://a.example/\"]";
    let others = vec![url("https://a.example/")];
    assert_eq!(choice(directory), RegistryChoice::Directory(others));
    for wrong in [
        "registry = \"nowhere\"",
        "registry = \"file\"",
        "registry = \"file\"\nfile = \"/does/not/exist\"",
        "rpc = [\"https://a.example/\"]",
        "registry = \"chain\"\nrpc = [\"http://127.0.0.1:8545/\"]",
        "registry = \"chain\"\nrpc = [\"https://10.0.0.1/\"]",
        "registry = \"chain\"\nrpc = [\"https://user:word@a.example/\"]",
        "registry = \"chain\"\nfile = \"x\"",
        "registry = \"directory\"\ndirectories = [\"https://a.example/x\"]",
        "registry = \"directory\"\nrpc = [\"https://a.example/\"]",
    ] {
        assert!(with(&format!("[did]\n{wrong}")).is_err(), "{wrong}");
    }
}

#[test]
fn the_operators_settings_are_read() {
    let config = with(
        "requests-per-minute = 7\nrequests-per-minute-per-address = 8\nmetrics-listen = \"127.0.0.1:9100\"\nbehind-proxy = true\nbackups = \"b\"\n[limits]\nresolutions-per-minute = 9\n[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"",
    )
    .unwrap();
    let rates = Rates {
        account: 7,
        address: 8,
        resolutions: 9,
    };
    assert_eq!((config.limits.rates, config.proxy), (rates, Proxy::Trusted));
    assert_eq!(config.metrics.unwrap().port(), 9100);
    assert_eq!(config.backups, Some("b".into()));
    let files = TlsFiles {
        certificate: "c.pem".into(),
        key: "k.pem".into(),
    };
    assert!(matches!(config.tls, Some(TlsChoice::Files(own)) if own == files));
}

#[test]
fn a_certificate_is_from_files_or_from_an_authority() {
    let acme = "[tls.acme]\nnames = [\"node.example\"]\nterms-agreed = true\n";
    let asked = with(acme).unwrap().tls;
    assert!(matches!(asked, Some(TlsChoice::Acme(acme)) if acme.names == ["node.example"]));
    let files = "[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n";
    for wrong in [
        "[tls]\n".to_owned(),
        "[tls]\ncertificate = \"c.pem\"".to_owned(),
        "[tls]\nkey = \"k.pem\"".to_owned(),
        format!("{files}{acme}"),
        format!("[tls]\nkey = \"k.pem\"\n{acme}"),
        format!("public-url = \"https://other.example\"\n{acme}"),
    ] {
        assert!(with(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn what_operators_are_told_to_paste_for_a_certificate_is_read() {
    let told = include_str!("../../../../docs/operating-a-storage-node.md");
    let blocks = told.split("```toml\n").skip(1);
    let pasted = blocks.filter_map(|rest| rest.split_once("```"));
    let pasted: Vec<_> = pasted
        .filter(|(block, _)| block.contains("[tls.acme]"))
        .collect();
    assert_eq!(pasted.len(), 1);
    let config = ConfigFile::parse(pasted[0].0).unwrap();
    let data = Some("d".into());
    let tls = ConfigFile { data, ..config }.into_config().unwrap().tls;
    assert!(matches!(tls, Some(TlsChoice::Acme(acme)) if acme.names == ["node.example"]));
}

#[test]
fn a_couchdb_is_named_in_the_file_and_its_secrets_in_another() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secrets.toml");
    let secrets = "admin = \"a\"\nadmin-password = \"b\"\naccess-key = \"0123456789abcdef\"\n\
        refresh-key = \"fedcba9876543210\"\npublic-user = \"everybody\"\npublic-password = \"c\"\n";
    let lines = |url: &str| {
        let path = path.display();
        format!("store = \"couchdb\"\n[couchdb]\nurl = \"{url}\"\nsecrets = \"{path}\"")
    };
    let here = "http://couch.internal:5984";
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    write(&format!("{secrets}node-key = \"0x{}\"", "07".repeat(32)));
    let config = with(&lines(here)).unwrap();
    let StoreChoice::Couch(couch) = &config.store else {
        panic!("the other store")
    };
    assert_eq!(
        (couch.url.as_str(), couch.node_key),
        ("http://couch.internal:5984/", Some([7; 32]))
    );
    assert!(!format!("{config:?}").contains("0123456789abcdef"));
    for wrong in [
        "http://a:b@couch.internal/",
        "http://couch.internal/x",
        "ftp://couch.internal/",
    ] {
        assert!(with(&lines(wrong)).is_err(), "{wrong}");
    }
    for (name, value) in [
        ("access-key", "short"),
        ("access-key", "fedcba9876543210"),
        ("public-user", "a"),
        ("public-user", "_x"),
        ("public-user", "a b"),
    ] {
        let line = secrets.lines().find(|line| line.starts_with(name)).unwrap();
        write(&secrets.replace(line, &format!("{name} = \"{value}\"")));
        assert!(with(&lines(here)).is_err(), "{name} {value}");
    }
    write(&format!("{secrets}more = \"a secret\""));
    let told = with(&lines(here)).unwrap_err().to_string();
    assert!(!told.contains("a secret"), "{told}");
    assert!(with(&format!("backups = \"b\"\n{}", lines(here))).is_err());
    assert!(with("store = \"couchdb\"").is_err());
    assert!(with("store = \"files\"").is_err());
    assert!(with(&lines(here).replace("couchdb\"\n", "embedded\"\n")).is_err());
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    const LOST: &str = "/nowhere/at/all";
    let here = "listen = \"127.0.0.1:0\"\ndata = \"d\"\n";
    let acme = "[tls.acme]\nnames = [\"node.example\"]\nterms-agreed = true\n";
    let couch = "store = \"couchdb\"\n[couchdb]\nurl = \"http://127.0.0.1:5984\"\n";
    for (lines, name) in [
        (
            format!("[did]\nregistry = \"file\"\nfile = \"{LOST}\""),
            "did.file",
        ),
        (format!("{couch}secrets = \"{LOST}\""), "couchdb.secrets"),
        (format!("{acme}ca = \"{LOST}\""), "tls.acme.ca"),
        (
            format!("{acme}account-key-id = \"x\"\naccount-key-file = \"{LOST}\""),
            "tls.acme.account-key-file",
        ),
    ] {
        let read = ConfigFile::parse(&format!("{here}{lines}"));
        let told = read.unwrap().into_config().unwrap_err().to_string();
        let named = format!("`{name}`, {LOST}: No such file");
        assert!(told.contains(&named), "{told}");
    }
    let told = ConfigFile::read(Path::new(LOST)).unwrap_err().to_string();
    assert!(told.contains(LOST), "{told}");
}

#[test]
fn settings_that_would_serve_nobody_are_mistakes_and_named() {
    let told = |text: &str| {
        let read = ConfigFile::parse(text).and_then(ConfigFile::into_config);
        read.map(drop).map_err(|error| error.to_string())
    };
    let here = "listen = \"127.0.0.1:0\"\ndata = \"d\"\n";
    for name in [
        "max-accounts",
        "account-bytes",
        "node-bytes",
        "document-bytes",
        "connections",
        "open-databases",
        "requests-per-minute",
        "requests-per-minute-per-address",
    ] {
        let nothing = told(&format!("{here}{name} = 0")).unwrap_err();
        assert!(nothing.contains(&format!("`{name}`")), "{nothing}");
        assert_eq!(told(&format!("{here}{name} = 1")), Ok(()));
    }
    // Nobody may attach anything: somebody may want that.
    assert_eq!(told(&format!("{here}attachment-bytes = 0")), Ok(()));

    let of_one = |bytes: u64| {
        let name = "bodies-in-flight-bytes-per-sender";
        told(&format!(
            "{here}[limits]\nbulk-bytes = 400\n{name} = {bytes}"
        ))
    };
    let of_all = |bytes: u64| {
        let name = "bodies-in-flight-bytes";
        told(&format!(
            "{here}[limits]\nbulk-bytes = 400\n{name} = {bytes}"
        ))
    };
    let too_small = of_all(1_199).unwrap_err();
    assert!(
        too_small.contains("`limits.bodies-in-flight-bytes`"),
        "{too_small}"
    );
    assert_eq!(of_all(1_200), Ok(()));
    let too_small = of_one(899).unwrap_err();
    let name = "`limits.bodies-in-flight-bytes-per-sender`";
    assert!(too_small.contains(name), "{too_small}");
    assert_eq!(of_one(900), Ok(()));

    for everywhere in ["0.0.0.0:80", "[::]:80", "[::ffff:0.0.0.0]:80"] {
        let listen = format!("listen = \"{everywhere}\"\ndata = \"d\"\n");
        let files = "[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n";
        for more in ["", files] {
            let silent = told(&format!("{listen}{more}")).unwrap_err();
            assert!(silent.contains("`public-url`"), "{silent}");
        }
        for more in [
            "public-url = \"https://node.example\"",
            "[tls.acme]\nnames = [\"node.example\"]\nterms-agreed = true",
        ] {
            assert_eq!(told(&format!("{listen}{more}")), Ok(()));
        }
    }
    for credential in ["admin:secret@", "admin@", ":secret@"] {
        let line = format!("{here}public-url = \"https://{credential}node.example\"");
        let shown = told(&line).unwrap_err();
        assert!(shown.contains("`public-url`"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }
}

#[test]
fn mistakes_are_named() {
    assert!(ConfigFile::parse("lisen = 1").is_err());
    let missing = ConfigFile::parse("listen = \"127.0.0.1:0\"")
        .unwrap()
        .into_config();
    assert!(matches!(missing, Err(ConfigError::Missing("data"))));
    for line in [
        "public-url = \"node\"",
        "public-url = \"http://h/couch\"",
        "network = \"x\"",
        "document-bytes = 99999999999",
        "attachment-bytes = 99999999999",
        "attachments-bytes = 99999999999",
    ] {
        let text = format!("listen = \"127.0.0.1:0\"\ndata = \"d\"\n{line}");
        assert!(
            ConfigFile::parse(&text).unwrap().into_config().is_err(),
            "{line}"
        );
    }
}
