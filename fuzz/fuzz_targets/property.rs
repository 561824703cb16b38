//! One property, named by `TANDEM_PROPERTY`, on whatever libFuzzer thinks of.

#![no_main]

use std::sync::LazyLock;

use tandem_properties::{ALL, Property};

static PROPERTY: LazyLock<Property> = LazyLock::new(|| {
    let wanted = std::env::var("TANDEM_PROPERTY").unwrap_or_default();
    let found = ALL.iter().find(|(name, _)| *name == wanted);
    let names: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
    found.unwrap_or_else(|| panic!("TANDEM_PROPERTY={wanted:?} is none of {names:?}")).1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| PROPERTY(data));
