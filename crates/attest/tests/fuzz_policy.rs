//! Fuzz target: a hostile policy file is an error, never a panic; none that is read allows debug mode.

use adyton_attest::Policy;

fn check(text: &str) {
    let Ok(policy) = Policy::from_toml(text) else {
        return;
    };
    for measurement in policy.nitro() {
        assert!([0, 1, 2].iter().all(|index| {
            measurement
                .pcrs()
                .get(index)
                .is_some_and(|pcr| !pcr.is_zero())
        }));
        assert!(measurement.root().is_hardware_vendor() || policy.allow_simulated());
    }
}

#[test]
fn hostile_policies_are_refused_in_order() {
    check("version = 1\n[[nitro]]\nname = \"n\"\npcrs = { 0 = \"0\" }");
    check(&format!("version = {}", "[".repeat(100_000)));
    check(&format!("{}a = 1", "a.".repeat(50_000)));
    bolero::check!().for_each(|input: &[u8]| check(&String::from_utf8_lossy(input)));
}
