//! Any bytes get a masked form that shows no more than it may, and a spelling of their own length that
//! gives the same form.
#![no_main]

use anonymizer::privacy::address;
use anonymizer::privacy::anonymize::mask;

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let form = mask(text);
    let form = form.as_bytes();
    assert!(form.ends_with(b"X") && form.len() <= 17);
    let groups = form.iter().filter(|b| b".:".contains(b)).count();
    assert!(
        matches!(groups, 0 | 3 | 4),
        "{}",
        String::from_utf8_lossy(form)
    );

    let spelled = address::field(text).expect("every text has a masked spelling");
    assert_eq!(spelled.len(), text.len());
    assert_eq!(mask(&spelled).as_bytes(), form);
    // Masked twice, nothing changes.
    assert_eq!(address::field(&spelled).unwrap(), spelled);
});
