//! Is a change of what is masked told, kept in the data dir, and true of the rows that come then?

use anonymizer::privacy::Policy;
use anonymizer::privacy::policy::{Ipv4Bits, Ipv6Bits};
use serde_json::{Value, json};

use crate::support::world::World;

/// Bits, without the times.
fn policies(status: &Value) -> Vec<(Value, Value)> {
    let all = status["privacy"].as_array().unwrap().iter();
    all.map(|p| (p["ipv4_bits"].clone(), p["ipv6_bits"].clone()))
        .collect()
}

#[test]
fn a_change_holds_from_then_on_and_is_told_wherever_one_looks() {
    let mut w = World::of(2);
    let first = w.setup.run();
    w.stores(1, 200);
    w.wait_queued(0);
    let usual = (json!(8), json!(80));
    assert_eq!(policies(&w.setup.status()), std::slice::from_ref(&usual));
    assert!(!first.log().contains("another policy"), "{}", first.log());
    first.stop();

    w.setup.set("--mask-ipv4-bits", "16");
    w.setup.set("--mask-ipv6-bits", "128");
    w.kafka.policy = Policy {
        ipv4_bits: Ipv4Bits::new(16).unwrap(),
        ipv6_bits: Ipv6Bits::new(128).unwrap(),
    };
    let second = w.setup.run();
    w.stores(2, 200);
    w.wait_queued(0);
    let both = [usual, (json!(16), json!(128))];
    let words = "16 bits of IPv4 and 128 of IPv6 addresses cut";
    let text = || {
        let mut command = w.setup.command("status");
        String::from_utf8(command.arg("--no-kafka").output().unwrap().stdout).unwrap()
    };
    let line = format!("masked          {words}, since ");
    assert!(text().contains(&line), "{}", text());
    assert_eq!(policies(&w.setup.status()), both);
    let log = second.log();
    assert!(log.contains(&format!("another policy: {words}")), "{log}");
    assert_eq!(log.matches(words).count(), 2, "and at the start: {log}");
    w.finish(second);
    assert!(text().contains(&line), "{}", text());
    assert_eq!(policies(&w.setup.status()), both);

    // Less is masked again: that may be a settings file that was lost.
    w.setup.unset("--mask-ipv4-bits");
    w.kafka.policy.ipv4_bits = Ipv4Bits::default();
    let third = w.setup.run();
    third.wait_log("another policy");
    let is_warned = |l: &str| l.contains("WARN") && l.contains("another policy");
    assert!(third.log().lines().any(is_warned), "{}", third.log());
    w.stores(3, 200);
    w.finish(third);
}
