//! Sessions that name storage nodes which a confidential node must never talk to.

use std::sync::Arc;

use adyton_client::clock::Clock;
use adyton_node::config::Config;
use adyton_sandbox::SimulatedTee;
use adyton_sandbox::cluster::RunningNode;

use super::Scene;
use crate::support::{Bystander, NodeClient, World};

#[tokio::test]
async fn a_session_that_names_an_address_inside_is_refused() {
    let mut scene = Scene::set().await;
    for url in [
        "http://169.254.169.254/",
        "https://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/",
        "http://10.0.0.1:5984/",
        "https://192.168.0.1/",
        "https://172.16.0.1/",
        "https://100.100.100.200/",
        "https://0.0.0.0/",
        "https://[fd00:ec2::254]/",
        "https://[fe80::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::a00:1]/",
        "https://0xa9fea9fe/",
        "https://2852039166/",
        "http://93.184.216.34/",
        "file:///etc/passwd",
        "ftp://93.184.216.34/",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "unix:/run/docker.sock",
        "",
        "https://",
    ] {
        let refused = scene.node.notes(&scene.person.key_at(url)).await;
        let refused = refused.problem(401, "credentials-invalid");
        // Not even the address is repeated.
        assert!(url.len() < 9 || !refused.to_string().contains(url));
    }
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_followed() {
    let world = World::start().await;
    let mut bystander = Bystander::of(&world).await;
    let lying = world.lying_node().await;
    let person = world.person().await;
    // A node as it is shipped: only public addresses.
    let tee = SimulatedTee::start(Arc::new(|| Clock::system().now())).unwrap();
    let config = Config::parse("listen = \"127.0.0.1:0\"").unwrap();
    let shipped = RunningNode::start(config, Arc::new(tee), Clock::system())
        .await
        .unwrap();
    let mut node = NodeClient::connect(&format!("https://{}", shipped.address())).await;
    let port = lying.url.trim_end_matches('/').rsplit(':').next().unwrap();
    let before = lying.connections();
    for (url, status, code) in [
        // What the URL itself tells is refused before anything is sent; what other names resolve to: `adyton_egress::names`.
        (
            format!("https://localhost:{port}/"),
            401,
            "credentials-invalid",
        ),
        (
            format!("http://localhost:{port}/"),
            401,
            "credentials-invalid",
        ),
        (
            format!("http://127.0.0.1:{port}/"),
            401,
            "credentials-invalid",
        ),
        (
            format!("https://127.0.0.1:{port}/"),
            401,
            "credentials-invalid",
        ),
        (format!("https://[::1]:{port}/"), 401, "credentials-invalid"),
    ] {
        let refused = node.notes(&person.key_at(&url)).await;
        refused.problem(status, code);
    }
    assert_eq!(lying.connections(), before);
    shipped.shutdown().await;
    bystander.is_unharmed().await;
}
