// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A channel for messages to one client: a SOCK_SEQPACKET pair (unix(7)). A message is delivered whole.
//!
//! Nothing that a client does to its end may keep a send waiting, or make it fail while the client reads:
//!
//! * send(2) with MSG_DONTWAIT waits for nobody. It takes no lock that a client can hold for long.
//! * The messages that nobody has read count against the sender's buffer (SO_SNDBUF), which only the sender can
//!   resize. The receiver's SO_RCVBUF does not matter.
//! * A client can't send: the sender's end is shut down for reading, so nothing can pile up there.
//!
//! A pipe can't do this: a client can keep the pipe's lock by splice(2) and change its size by F_SETPIPE_SZ.

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    getsockopt, send, setsockopt, shutdown, socketpair, sockopt, AddressFamily, MsgFlags, Shutdown,
    SockFlag, SockType,
};

use crate::fd::{Fd, FdRef};

nix::ioctl_read_bad!(
    /// `SIOCOUTQ`: what the messages that nobody has read take of the sender's buffer (unix(7)).
    siocoutq, nix::libc::TIOCOUTQ, i32
);

/// Makes a channel whose sender has a buffer of `room` bytes, as the kernel counts them. Returns the sender's end,
/// then the receiver's.
pub fn pair(room: usize) -> Result<(Fd, Fd), Errno> {
    let (kind, flags) = (SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
    let (sender, receiver) = socketpair(AddressFamily::Unix, kind, None, flags)?;
    shutdown(sender.as_raw_fd(), Shutdown::Read)?;
    // The kernel doubles the number that it is given (socket(7)).
    setsockopt(&sender, sockopt::SndBuf, &(room / 2))?;
    // net.core.wmem_max may be less. A channel that is too small is not handed out.
    if getsockopt(&sender, sockopt::SndBuf)? < room {
        return Err(Errno::ENOBUFS);
    }
    Ok((sender, receiver))
}

/// Sends a message, or nothing if it fails. Never waits, and is never interrupted.
pub fn send_now(sender: FdRef<'_>, message: &[u8]) -> Result<(), Errno> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    send(sender.as_raw_fd(), message, flags).map(|_| ())
}

/// The bytes of the sender's buffer that unread messages take.
pub fn unread(sender: FdRef<'_>) -> Result<usize, Errno> {
    let mut unread = 0;
    // SAFETY: SIOCOUTQ on a socket stores one int through the pointer.
    unsafe { siocoutq(sender.as_fd().as_raw_fd(), &mut unread) }?;
    Ok(usize::try_from(unread).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: usize = 16 * 1024;

    #[test]
    fn what_a_receiver_does_to_its_end_changes_nothing_for_the_sender() {
        let (sender, receiver) = pair(ROOM).unwrap();
        setsockopt(&receiver, sockopt::RcvBuf, &1).unwrap();
        setsockopt(&receiver, sockopt::SndBuf, &1).unwrap();
        assert!(getsockopt(&sender, sockopt::SndBuf).unwrap() >= ROOM);
        assert_eq!(send_now(receiver.as_fd(), &[0; 32]), Err(Errno::EPIPE));
        let mut sent = 0;
        while send_now(sender.as_fd(), &[0; 32]).is_ok() {
            sent += 1;
        }
        assert!(sent >= 8, "{sent} messages");
    }

    #[test]
    fn a_message_counts_until_it_is_read_and_a_closed_receiver_is_reported() {
        let (sender, receiver) = pair(ROOM).unwrap();
        assert_eq!(unread(sender.as_fd()), Ok(0));
        send_now(sender.as_fd(), &[7; 32]).unwrap();
        assert!(unread(sender.as_fd()).unwrap() >= 32);
        let mut bytes = [0; 64];
        assert_eq!(nix::unistd::read(receiver.as_raw_fd(), &mut bytes), Ok(32));
        assert_eq!(unread(sender.as_fd()), Ok(0));
        drop(receiver);
        assert_eq!(send_now(sender.as_fd(), &[7; 32]), Err(Errno::EPIPE));
    }
}
