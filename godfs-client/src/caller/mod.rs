//! Who this process is, as it claims to the namenode.

#[cfg_attr(unix, path = "system_unix.rs")]
#[cfg_attr(not(unix), path = "system_other.rs")]
mod system;

use godfs_core::namespace::{ANONYMOUS, Caller, MAX_GROUPS, check_principal};
use godfs_core::{Error, ErrorKind, Result};

use crate::transport::caller::MAX_GROUPS_BYTES;

/// Names the user instead of the operating system.
const USER_VARIABLE: &str = "GODFS_USER";

/// Who this process is: `GODFS_USER` where that is set, as [`parse_caller`] takes it; else the user and groups that the operating system
/// says it runs as.
///
/// Names come from `/etc/passwd` and `/etc/group`. A user who is not there goes by `LOGNAME` or `USER`, a group by its number; groups beyond what
/// a claim may hold are left out.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for a `GODFS_USER` that can't be.
pub fn process_caller() -> Result<Caller> {
    match std::env::var(USER_VARIABLE) {
        Ok(text) if !text.is_empty() => parse_caller(&text).map_err(|error| error.context(USER_VARIABLE)),
        Ok(_) | Err(std::env::VarError::NotPresent) => Ok(system_caller()),
        Err(error) => Err(Error::new(ErrorKind::InvalidArgument, format!("{USER_VARIABLE}: {error}"))),
    }
}

/// A caller out of `USER` or `USER:GROUP,GROUP`. Without groups the user is in none.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for names that can't be; [`ErrorKind::LimitExceeded`] for too many groups.
pub fn parse_caller(text: &str) -> Result<Caller> {
    match text.split_once(':') {
        None => Caller::new(text, [""; 0]),
        Some((user, groups)) => Caller::new(user, groups.split(',')),
    }
}

fn system_caller() -> Caller {
    let (user, groups) = system::user_and_groups();
    let from_env = || ["LOGNAME", "USER"].into_iter().find_map(|name| std::env::var(name).ok());
    let user = user.or_else(from_env).filter(|user| check_principal("user", user).is_ok());
    let mut room = MAX_GROUPS_BYTES;
    let groups = groups.into_iter().filter(|group| check_principal("group", group).is_ok()).take(MAX_GROUPS);
    let groups: Vec<String> = groups
        .take_while(|group| {
            let fits = room > group.len();
            room = room.saturating_sub(group.len() + 1);
            fits
        })
        .collect();
    Caller::new(user.unwrap_or_else(|| ANONYMOUS.to_owned()), groups).expect("names and numbers were checked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_with_or_without_groups() {
        let caller = parse_caller("alice:staff,domain users").expect("valid");
        assert_eq!((caller.user(), caller.groups().len()), ("alice", 2));
        assert!(parse_caller("alice").expect("valid").groups().is_empty());
        for text in ["", ":", "a:", ":staff", "a:b:c", "a:b,,c", "a\r\nb"] {
            assert_eq!(parse_caller(text).expect_err(text).kind(), ErrorKind::InvalidArgument);
        }
    }

    #[test]
    fn the_process_is_somebody() {
        let caller = system_caller();
        assert!(!caller.user().is_empty() && !caller.is_system());
    }
}
