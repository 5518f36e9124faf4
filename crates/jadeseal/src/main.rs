//! The `jadeseal` command: parses the command line, hands over to the library crates.

#[macro_use]
mod print;
mod commands;

use clap::{Parser, Subcommand, ValueEnum};
use jadeseal_server::logs;
use std::process::ExitCode;
use tracing::level_filters::LevelFilter;

/// Fewer processor cycles per request than the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Self-hosted key management service that speaks the Tencent Cloud KMS API 3.0.
#[derive(Parser)]
#[command(name = "jadeseal", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Log level.
    #[arg(long, global = true, env = "JADESEAL_LOG", default_value = "info")]
    log: LogLevel,
    /// Log format.
    #[arg(long, global = true, env = "JADESEAL_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// One JSON object on one line.
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Serve on loopback with an embedded store, no preparation needed; for trying out and for CI.
    Quickstart(commands::quickstart::Args),
    /// Prepare a production deployment: data directory, root of trust, first account.
    Init(commands::init::Args),
    /// Serve with a configuration file.
    Serve(commands::serve::Args),
    /// Look at everything around a deployment that can go wrong; changes nothing, may run beside a serving process.
    Doctor(commands::doctor::Args),
    /// Replace the root key and re-wrap everything under it; may run beside a serving process.
    Rekey(commands::rekey::Args),
    /// Make a backup in one sealed file, and read it back; may run beside a serving process.
    Backup(commands::backup::Args),
    /// Restore a backup into a new data directory, or prove that it restores.
    Restore(commands::restore::Args),
    /// List, add, remove and prove custodians of the root key; may run beside a serving process.
    Custody(commands::custody::Args),
    /// Grant cloud products access keys with which they act for accounts; may run beside a serving process.
    Product(commands::product::Args),
    /// Make and list accounts; may run beside a serving process.
    Account(commands::account::Args),
    /// Look at keys and at when they were last used; may run beside a serving process.
    Key(commands::key::Args),
    /// Ask what principals may do, and check policies; may run beside a serving process.
    Policy(commands::policy::Args),
    /// Verify an audit log, prove what is in it, list the uses of a key.
    Audit(commands::audit::Args),
    /// Print the version.
    Version(commands::version::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log(cli.log, cli.log_format);
    let result = match cli.command {
        Command::Quickstart(args) => commands::quickstart::run(args).map(done),
        Command::Init(args) => commands::init::run(args).map(done),
        Command::Serve(args) => commands::serve::run(args).map(done),
        Command::Doctor(args) => commands::doctor::run(args),
        Command::Rekey(args) => commands::rekey::run(args).map(done),
        Command::Backup(args) => commands::backup::run(args),
        Command::Restore(args) => commands::restore::run(args),
        Command::Custody(args) => commands::custody::run(args).map(done),
        Command::Product(args) => commands::product::run(args).map(done),
        Command::Account(args) => commands::account::run(args).map(done),
        Command::Key(args) => commands::key::run(args).map(done),
        Command::Policy(args) => commands::policy::run(args),
        Command::Audit(args) => commands::audit::run(args).map(done),
        Command::Version(args) => commands::version::run(args).map(done),
    };
    match result.and_then(|code| print::outcome().map(|()| code)) {
        Ok(code) => code,
        Err(e) if print::is_unread(&e) => ExitCode::from(print::UNREAD),
        Err(e) => {
            eprintln!("jadeseal: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}

fn start_log(level: LogLevel, format: LogFormat) {
    let format = match format {
        LogFormat::Text => logs::Format::Text,
        LogFormat::Json => logs::Format::Json,
    };
    logs::start(level.into(), format);
    // A panic message can quote a value; its place is enough to find it.
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(at, "panic");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, error::ErrorKind};

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_unknown_log_level_is_an_error() {
        let parse = |level| Cli::try_parse_from(["jadeseal", "version", "--log", level]);
        assert!(parse("debug").is_ok());
        // A filter library would take the second for the name of a module, and log nothing.
        for level in ["", "inof", "info,x=debug"] {
            assert_eq!(parse(level).err().map(|e| e.kind()), Some(ErrorKind::InvalidValue), "{level:?}");
        }
    }

    #[test]
    fn a_data_directory_may_go_before_the_file() {
        for command in ["serve", "rekey"] {
            let both = Cli::try_parse_from(["jadeseal", command, "--config", "c", "--data-dir", "d"]);
            assert!(both.is_ok(), "{command}");
        }
        assert!(Cli::try_parse_from(["jadeseal", "rekey", "--data-dir", "d"]).is_ok());
        assert!(Cli::try_parse_from(["jadeseal", "rekey"]).is_err());
    }
}
