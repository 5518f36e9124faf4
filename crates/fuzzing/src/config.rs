//! The configuration file: any text is refused with a reason or gives a configuration that can be checked.
use jadeseal_server::config::Config;

/// One input; bytes that are not UTF-8 are none.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(config) = Config::parse(text) {
        // May refuse; must not panic.
        config.check().ok();
    }
}
