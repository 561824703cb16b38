//! How the program may end: the one list that `--help`, the man page, the README and the systemd unit go by.

use std::process::ExitCode;

/// What a script can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    Done = 0,
    Configuration = 1,
    /// Of clap itself.
    CommandLine = 2,
    NotReached = 3,
    Refused = 4,
    Failed = 5,
    NotWhole = 6,
}

/// All of them, with what they mean.
pub(super) const EXITS: [(Exit, &str); 7] = [
    (Exit::Done, "done, or stopped as asked"),
    (
        Exit::Configuration,
        "the configuration is wrong, or a file that it names can't be used; standard error names each key and line",
    ),
    (Exit::CommandLine, "the command line is wrong"),
    (
        Exit::NotReached,
        "no Tandem answers at admin.address, or it does not take admin.user and admin.password; top: the same of metrics.address",
    ),
    (
        Exit::Refused,
        "the running Tandem refused what was asked for, and nothing was changed; standard error says why",
    ),
    (
        Exit::Failed,
        "Tandem could not serve (an address is taken, for instance), or the demo failed",
    ),
    (
        Exit::NotWhole,
        "status --check: there is no active master, or no standby that could take its place",
    ),
];

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_each_code_once_and_in_order() {
        let codes: Vec<u8> = EXITS.iter().map(|(exit, _)| *exit as u8).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6]);
    }
}
