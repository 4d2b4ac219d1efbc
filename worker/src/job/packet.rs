//! Packets with file descriptors on the sockets between a worker, its templates and their forks.
//!
//! The calls are plain `recvmsg` and `sendmsg`: whether they block is a property of the socket.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use std::{
    io::{IoSlice, IoSliceMut, Result},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Maximum number of descriptors in one packet.
const MAX_DESCRIPTORS: usize = 3;

/// Descriptors that arrived with a packet, in order.
pub(crate) type Descriptors = [Option<OwnedFd>; MAX_DESCRIPTORS];

/// Receives one packet into `bytes` and returns its length (0 at end of stream) and its descriptors. Does not allocate:
/// memory that a template or fork writes to must first be copied by the kernel.
pub(crate) fn receive(socket: impl AsFd, bytes: &mut [u8]) -> Result<(usize, Descriptors)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            received => break received?,
        }
    };
    let mut descriptors = Descriptors::default();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            descriptors.iter_mut().zip(fds).for_each(|(slot, fd)| *slot = Some(fd));
        }
    }
    Ok((received.bytes, descriptors))
}

/// Sends one packet with these descriptors, [`MAX_DESCRIPTORS`] at most.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(std::io::Error::other("too many descriptors for one packet"));
    }
    loop {
        match sendmsg(&socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            sent => return sent.map(|_| ()).map_err(Into::into),
        }
    }
}
