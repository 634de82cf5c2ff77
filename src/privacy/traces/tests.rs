use super::*;

fn shown(text: &str) -> bool {
    shows(text.as_bytes(), &Client::of(b"198.51.100.7"))
}

#[test]
fn an_address_is_seen_in_every_spelling() {
    for text in [
        "/a?ip=203.0.113.77",
        "http://ip-203-0-113-77.internal/",
        "http://ec2-203-0-113-77.compute.example/",
        "1-2-3-4.dialup.example",
        "host203x0x113x77.example",
        "77.113.0.203.in-addr.arpa",
        "7.7.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
        "203%2e0%2E113%2e77",
        "203%252e0%252e113%252e77",
        "%32%30%33%2e%30%2e%31%31%33%2e%37%37",
        "203\\u002e0\\u002e113\\u002e77",
        "\\u0032\\u0030\\u0033.0.113.77",
        "203&#46;0&#x2e;113&#46;77",
        "203[.]0[.]113[.]77",
        "203(dot)0(dot)113(dot)77",
        "203 dot 0 dot 113 dot 77",
        "２０３.０.１１３.７７",
        "203。0。113。77",
        "٢٠٣.٠.١١٣.٧٧",
        "0313.0.0161.0115",
        "0xcb.0x0.0x71.0x4d",
        "cb-00-71-4d.example",
        "http://3405803853/",
        "http://user:pass@3405803853:80/a",
        "http://0xcb00714d/",
        "http://203.29005/",
        "//203.0.28997",
        "2001:db8::1",
        "2001:DB8:0:0:8:800:200C:417A",
        "[2001:db8::1%25eth0]",
        "2001%3adb8%3a%3a1",
        "2001-db8--1.example",
        "2001-db8-85a3-0-0-8a2e-370-7334",
        "::ffff:203.0.113.77",
    ] {
        assert!(shown(text), "{text}");
    }
}

#[test]
fn the_clients_own_address_is_seen_as_any_number() {
    for text in [
        "/a/3325256711.jpg",
        "/a/xx3325256711",
        "/a/124007366",
        "/c6336407",
        "/s=0xC6336407&t=1",
        "/076433c6",
        "/30614662007?x",
        "/0xc6/0x33/a/0x64",
        "/198051100007",
        "/a=198&b=51&c=100&d=7",
        "/d=7&c=100&b=51&a=198",
        "/198x3367943",
        "/198x51x25607",
    ] {
        assert!(shown(text), "{text}");
    }
    let v6 = Client::of(b"2001:db8::a:b:c:d");
    assert!(shows(b"/000A000b000c000d/", &v6));
    assert!(shows(b"/seen/secret-7/a", &Client::of(b"secret-7")));
    assert!(shows(b"/3405803853", &Client::of(b"secret-7")));
    assert!(shows(b"/3405803853", &Client::of(b"")));
}

#[test]
fn usual_addresses_of_pages_show_none() {
    for text in [
        "https://example.com:443/a/b?c=d",
        "/res/1059/img/debf12ab34cd.jpg?v=3&w=640&h=480",
        "/video/2026-11-26/12:34:56/seg-00123.ts",
        "/api/v1.2.3/550e8400-e29b-41d4-a716-446655440000?session=1a2b3c4d",
        "/b%C3%BCcher/%E2%98%83?q=a%20b",
        "/t?ts=1790000000123&u=1790000000",
        "",
    ] {
        assert!(!shown(text), "{text}");
    }
}
