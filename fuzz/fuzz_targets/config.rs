//! The configuration file: any text is refused with a reason or gives a configuration that can be checked.
#![no_main]

use jadeseal_server::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(config) = Config::parse(text) {
        // May refuse; must not panic.
        config.check().ok();
    }
});
