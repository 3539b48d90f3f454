// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Descriptors between processes, as HALs pass them: SCM_RIGHTS over a Unix socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{recvmsg, sendmsg, ControlMessage, ControlMessageOwned, MsgFlags};

/// Descriptors in one message.
pub const MAX_FDS: usize = 16;

/// Sends descriptors.
pub fn send(socket: &UnixStream, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    // At least one byte has to go with them (unix(7)).
    let data = [u8::try_from(fds.len()).map_err(|_| io::ErrorKind::InvalidInput)?];
    let message = [ControlMessage::ScmRights(&raw)];
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&data)], &message, MsgFlags::empty(), None)?;
    Ok(())
}

/// Receives what one [`send`] has sent.
pub fn receive(socket: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut data = [0];
    let mut parts = [IoSliceMut::new(&mut data)];
    let mut space = nix::cmsg_space!([RawFd; MAX_FDS]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut fds = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = part {
            // SAFETY: the kernel has made these descriptors for us with this message.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if message.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if fds.len() != usize::from(data[0]) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "descriptors were lost"));
    }
    Ok(fds)
}

/// Whether two descriptors are of one open file: duplicates of each other (kcmp(2), KCMP_FILE). `None` if the kernel
/// can't tell.
pub fn are_one_file(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<Option<bool>> {
    const KCMP_FILE: libc::c_int = 0;
    let pid = std::process::id();
    let (one, other) = (one.as_raw_fd(), other.as_raw_fd());
    // SAFETY: the call takes numbers only.
    match unsafe { libc::syscall(libc::SYS_kcmp, pid, pid, KCMP_FILE, one, other) } {
        -1 => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENOSYS) => Ok(None),
            error => Err(error),
        },
        order => Ok(Some(order == 0)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn descriptors_arrive_as_the_same_files() {
        let (here, there) = UnixStream::pair().unwrap();
        let (mut read, write) = UnixStream::pair().unwrap();
        send(&here, &[write.as_fd()]).unwrap();
        drop(write);
        let mut fds = receive(&there).unwrap();
        let mut arrived = UnixStream::from(fds.pop().unwrap());
        arrived.write_all(b"x").unwrap();
        let mut byte = [0];
        read.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn a_duplicate_is_the_same_file_and_another_pipe_is_not() {
        let (one, other) = UnixStream::pair().unwrap();
        let duplicate = one.try_clone().unwrap();
        assert_ne!(are_one_file(one.as_fd(), duplicate.as_fd()).unwrap(), Some(false));
        assert_ne!(are_one_file(one.as_fd(), other.as_fd()).unwrap(), Some(true));
    }

    #[test]
    fn a_closed_peer_is_the_end() {
        let (here, there) = UnixStream::pair().unwrap();
        drop(here);
        assert_eq!(receive(&there).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
