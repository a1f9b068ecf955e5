//! What the process as a whole does to keep its memory off the disk.
//!
//! The binary calls both functions at start, before any key is loaded; a refusal is a warning,
//! not a reason to stop. Against whoever is root on the running machine neither of them helps.

use std::io;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// Number of CAP_IPC_LOCK in capability masks, capabilities(7).
const CAP_IPC_LOCK: u32 = 14;

/// Why memory was not locked.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// RLIMIT_MEMLOCK is finite and CAP_IPC_LOCK is missing.
    #[error(
        "the process may lock only {limit} octets of memory; raise it (systemd: LimitMEMLOCK=infinity, \
         docker: --ulimit memlock=-1) or grant CAP_IPC_LOCK"
    )]
    NotAllowed {
        /// The hard limit, in octets.
        limit: u64,
    },
    /// The system refused for another reason.
    #[error("mlockall: {0}")]
    System(#[source] io::Error),
}

/// Keeps every page of this process, present and future, out of swap.
///
/// Locked is everything: keys, but also SQLite's caches, mail in memory, stacks. Pages are
/// locked as they are touched (`MCL_ONFAULT`), so that nothing grows by it. Not covered:
/// hibernation, snapshots of a virtual machine, and copies of keys in registers.
///
/// # Errors
/// [`MemoryError::NotAllowed`] where the amount is limited: a lock on all *future* pages under a
/// limit would make later allocations fail, so nothing is locked at all then.
pub fn lock_process_memory() -> Result<(), MemoryError> {
    let limit = getrlimit(Resource::Memlock);
    if let (Some(hard), false) = (limit.maximum, may_lock_everything()) {
        return Err(MemoryError::NotAllowed { limit: hard });
    }
    if limit.current.is_some() && limit.maximum.is_none() {
        let unlimited = Rlimit { current: None, maximum: None };
        setrlimit(Resource::Memlock, unlimited)
            .map_err(|error| MemoryError::System(error.into()))?;
    }
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)
        .map_err(|error| MemoryError::System(error.into()))
}

/// Makes sure that a crash writes no core file, and that other processes of the same user can
/// neither attach to this one nor read its memory through /proc.
///
/// # Errors
/// What the system answered; the second step is tried even if the first one fails.
pub fn forbid_core_dumps() -> io::Result<()> {
    let limited = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    limited.and(hidden).map_err(io::Error::from)
}

/// Whether the process holds CAP_IPC_LOCK, which lifts RLIMIT_MEMLOCK. In a user namespace of
/// its own (rootless containers) a process may show the capability, and it lifts nothing.
fn may_lock_everything() -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return false };
    let Ok(uid_map) = std::fs::read_to_string("/proc/self/uid_map") else { return false };
    maps_every_user(&uid_map)
        && effective_capabilities(&status).is_some_and(|mask| mask >> CAP_IPC_LOCK & 1 == 1)
}

/// Whether this is the uid_map of the first user namespace, user_namespaces(7).
fn maps_every_user(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capability_masks_are_read() {
        let status = "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t00000000a80465fb\nCapBnd:\t0\n";
        let mask = effective_capabilities(status).unwrap();
        assert_eq!(mask, 0xa804_65fb);
        assert_eq!(mask >> CAP_IPC_LOCK & 1, 1);
        assert_eq!(effective_capabilities("CapEff:\tzz\n"), None);
        assert_eq!(effective_capabilities(""), None);
    }

    #[test]
    fn the_first_user_namespace_is_told_from_others() {
        assert!(maps_every_user("         0          0 4294967295\n"));
        assert!(!maps_every_user("         0       1000          1\n"));
        assert!(!maps_every_user("0 1000 1\n1 100000 65536\n"));
    }

    #[test]
    fn memory_is_locked_or_the_refusal_is_told() {
        match lock_process_memory() {
            Ok(()) => {
                let status = std::fs::read_to_string("/proc/self/status").unwrap();
                let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
                assert_ne!(locked.unwrap().trim(), "0 kB");
            }
            Err(MemoryError::NotAllowed { limit }) => {
                assert_eq!(getrlimit(Resource::Memlock).maximum, Some(limit));
            }
            // A sandbox may filter the call itself.
            Err(MemoryError::System(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
            }
        }
    }

    #[test]
    fn no_core_dumps_afterwards() {
        forbid_core_dumps().unwrap();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
