// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A display: KMS with atomic commits, on a card that shows its pictures to nobody but a test (cirrus in QEMU).
//!
//! A commit takes an acquire fence (IN_FENCE_FD) and makes a fence that signals when its picture is on the screen
//! (OUT_FENCE_PTR). From then on the picture *before* is not read any more: the fence is that picture's release fence.
//!
//! The ioctls are written down here, because the conformance suite uses them on Android, and AOSP has no crate for
//! them.

pub(crate) mod uapi;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};

use crate::dmabuf::DmaBuf;
use crate::drm;

/// The driver whose card is used. Linux 6.14 has given it its second name.
pub const DRIVERS: [&str; 2] = ["cirrus", "cirrus-qemu"];

/// A card, of which this process is the master until the value is dropped.
#[derive(Debug)]
pub struct Display {
    /// One of [`DRIVERS`].
    pub driver: &'static str,
    card: File,
    plane: Object,
    crtc: Object,
    connector: Object,
    /// The blob with the mode.
    mode: u64,
    width: u32,
    height: u32,
    /// Others who open the display wait for this lock, because a card has one master. It is on the folder of the
    /// cards: whoever opens a card that has no master becomes its master, so nobody may open it to lock it.
    _turn: Flock<File>,
}

/// A KMS object, with the numbers of its properties.
#[derive(Debug)]
struct Object {
    id: u32,
    properties: BTreeMap<String, u32>,
}

/// A buffer that can be shown.
#[derive(Clone, Copy, Debug)]
pub struct Framebuffer(u32);

impl Display {
    /// Tells if there is such a card.
    pub fn is_there() -> bool {
        find().is_ok()
    }

    /// Opens the card for pictures of this size, and waits while somebody else has it.
    pub fn open(width: u32, height: u32) -> io::Result<Self> {
        let turn = Flock::lock(File::open("/dev/dri")?, FlockArg::LockExclusive);
        let turn = turn.map_err(|(_, errno)| errno)?;
        let (driver, card) = find()?;
        let card = drm::open(&card)?;
        let atomic = uapi::ClientCap { capability: uapi::CAP_ATOMIC, value: 1 };
        // SAFETY: the descriptor is a DRM device's, and the ioctl reads this struct.
        unsafe { uapi::set_client_cap(card.as_raw_fd(), &atomic) }?;
        let (crtc, connector) = first_of_each(&card)?;
        let mode = mode_of(&card, connector, width, height)?;
        let plane = *planes(&card)?.first().ok_or_else(|| nothing("plane"))?;
        Ok(Self {
            driver,
            plane: Object::new(&card, plane, uapi::PLANE)?,
            crtc: Object::new(&card, crtc, uapi::CRTC)?,
            connector: Object::new(&card, connector, uapi::CONNECTOR)?,
            mode: blob(&card, &mode)?,
            width,
            height,
            card,
            _turn: turn,
        })
    }

    /// Imports a buffer with a picture: XRGB8888 without gaps between the rows.
    pub fn import(&self, buffer: &DmaBuf) -> io::Result<Framebuffer> {
        let mut add = uapi::AddFb2 {
            width: self.width,
            height: self.height,
            pixel_format: uapi::XRGB8888,
            ..uapi::AddFb2::default()
        };
        add.handles[0] = drm::import(&self.card, buffer.as_fd())?;
        add.pitches[0] = 4 * self.width;
        // SAFETY: the descriptor is a DRM device's, and the ioctl reads and writes this struct.
        unsafe { uapi::add_fb(self.card.as_raw_fd(), &mut add) }?;
        Ok(Framebuffer(add.fb_id))
    }

    /// Shows a picture as soon as `acquire` has signalled, and returns at once. The fence that it returns signals
    /// when the picture is on the screen. The fence of the call before must have signalled (EBUSY).
    pub fn show(
        &self,
        picture: Framebuffer,
        acquire: Option<BorrowedFd<'_>>,
    ) -> io::Result<OwnedFd> {
        let (width, height) = (u64::from(self.width), u64::from(self.height));
        let mut out: RawFd = -1;
        // -1 is none.
        let acquire = acquire.map_or(-1, |fence| i64::from(fence.as_raw_fd()));
        let plane = [
            ("FB_ID", u64::from(picture.0)),
            ("CRTC_ID", u64::from(self.crtc.id)),
            ("SRC_X", 0),
            ("SRC_Y", 0),
            // In 16.16.
            ("SRC_W", width << 16),
            ("SRC_H", height << 16),
            ("CRTC_X", 0),
            ("CRTC_Y", 0),
            ("CRTC_W", width),
            ("CRTC_H", height),
            ("IN_FENCE_FD", acquire as u64),
        ];
        let crtc = [("MODE_ID", self.mode), ("ACTIVE", 1)];
        let connector = [("CRTC_ID", u64::from(self.crtc.id))];
        self.commit(uapi::NONBLOCK, &plane, &crtc, &connector, Some(&mut out))?;
        if out < 0 {
            return Err(io::Error::other("the commit made no fence"));
        }
        // SAFETY: the ioctl has made this descriptor, and nothing else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(out) })
    }

    /// Turns the display off. When this returns, it reads no picture any more.
    pub fn off(&self) -> io::Result<()> {
        let plane = [("FB_ID", 0), ("CRTC_ID", 0)];
        self.commit(0, &plane, &[("MODE_ID", 0), ("ACTIVE", 0)], &[("CRTC_ID", 0)], None)
    }

    /// Changes properties. `out` gets a fence that signals when it is done.
    fn commit(
        &self,
        flags: u32,
        plane: &[(&str, u64)],
        crtc: &[(&str, u64)],
        connector: &[(&str, u64)],
        out: Option<&mut RawFd>,
    ) -> io::Result<()> {
        let fence = out.map(|out| ("OUT_FENCE_PTR", std::ptr::from_mut(out) as u64));
        let crtc: Vec<_> = crtc.iter().copied().chain(fence).collect();
        let changes = [(&self.plane, plane), (&self.crtc, &crtc[..]), (&self.connector, connector)];
        let (mut objects, mut counts) = (Vec::new(), Vec::new());
        let (mut properties, mut values) = (Vec::new(), Vec::new());
        for (object, wanted) in changes {
            objects.push(object.id);
            counts.push(wanted.len() as u32);
            for (name, value) in wanted {
                properties.push(object.property(name)?);
                values.push(*value);
            }
        }
        let mut commit = uapi::Atomic {
            flags: flags | uapi::ALLOW_MODESET,
            count_objs: objects.len() as u32,
            objs_ptr: address(&objects),
            count_props_ptr: address(&counts),
            props_ptr: address(&properties),
            prop_values_ptr: address(&values),
            ..uapi::Atomic::default()
        };
        // SAFETY: the counts are those of the vectors, which live until the call ends. So does the borrow of `out`, which
        // the kernel writes before the call ends, also if the commit goes on after it. No caller gives another
        // property that is an address.
        unsafe { uapi::atomic(self.card.as_raw_fd(), &mut commit) }?;
        Ok(())
    }
}

impl Object {
    fn new(card: &File, id: u32, kind: u32) -> io::Result<Self> {
        let of = |count, ids: u64, values: u64| uapi::ObjectProperties {
            props_ptr: ids,
            prop_values_ptr: values,
            count_props: count,
            obj_id: id,
            obj_type: kind,
        };
        let mut asked = of(0, 0, 0);
        // SAFETY: the ioctl reads and writes this struct, and as many ids and values as `count_props` says.
        unsafe { uapi::get_properties(card.as_raw_fd(), &mut asked) }?;
        let count = asked.count_props;
        let (mut ids, mut values) = (vec![0_u32; count as usize], vec![0_u64; count as usize]);
        let mut asked = of(count, address_mut(&mut ids), address_mut(&mut values));
        // SAFETY: as above.
        unsafe { uapi::get_properties(card.as_raw_fd(), &mut asked) }?;
        let named = ids.into_iter().map(|id| Ok((property_name(card, id)?, id)));
        Ok(Self { id, properties: named.collect::<io::Result<_>>()? })
    }

    fn property(&self, name: &str) -> io::Result<u32> {
        self.properties.get(name).copied().ok_or_else(|| nothing(name))
    }
}

/// The first card, with the name of its driver.
fn find() -> io::Result<(&'static str, PathBuf)> {
    let card = DRIVERS.iter().find_map(|driver| Some((*driver, drm::find(driver).ok()?)));
    let none =
        || io::Error::new(io::ErrorKind::NotFound, format!("no {} card", DRIVERS.join(" or ")));
    card.ok_or_else(none)
}

fn property_name(card: &File, id: u32) -> io::Result<String> {
    let mut property = uapi::GetProperty { prop_id: id, ..uapi::GetProperty::default() };
    // SAFETY: the ioctl reads and writes this struct, and nothing where a count is 0.
    unsafe { uapi::get_property(card.as_raw_fd(), &mut property) }?;
    let name = property.name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// The card's first crtc and its first connector: a virtual card has one of each.
fn first_of_each(card: &File) -> io::Result<(u32, u32)> {
    let mut asked = uapi::CardRes::default();
    // SAFETY: the ioctl reads and writes this struct, and as many ids as the counts say.
    unsafe { uapi::get_resources(card.as_raw_fd(), &mut asked) }?;
    let mut crtcs = vec![0_u32; asked.count_crtcs as usize];
    let mut connectors = vec![0_u32; asked.count_connectors as usize];
    let mut asked = uapi::CardRes {
        crtc_id_ptr: address_mut(&mut crtcs),
        connector_id_ptr: address_mut(&mut connectors),
        count_crtcs: asked.count_crtcs,
        count_connectors: asked.count_connectors,
        ..uapi::CardRes::default()
    };
    // SAFETY: as above.
    unsafe { uapi::get_resources(card.as_raw_fd(), &mut asked) }?;
    let crtc = crtcs.first().ok_or_else(|| nothing("crtc"))?;
    let connector = connectors.first().ok_or_else(|| nothing("connector"))?;
    Ok((*crtc, *connector))
}

fn planes(card: &File) -> io::Result<Vec<u32>> {
    let mut asked = uapi::PlaneRes::default();
    // SAFETY: the ioctl reads and writes this struct, and as many ids as the count says.
    unsafe { uapi::get_planes(card.as_raw_fd(), &mut asked) }?;
    let mut planes = vec![0_u32; asked.count_planes as usize];
    asked.plane_id_ptr = address_mut(&mut planes);
    // SAFETY: as above.
    unsafe { uapi::get_planes(card.as_raw_fd(), &mut asked) }?;
    Ok(planes)
}

/// The connector's mode of this size.
fn mode_of(card: &File, connector: u32, width: u32, height: u32) -> io::Result<uapi::ModeInfo> {
    let of = |count, modes: u64| uapi::GetConnector {
        connector_id: connector,
        count_modes: count,
        modes_ptr: modes,
        ..uapi::GetConnector::default()
    };
    // With a count of 0 the driver finds out the modes.
    let mut asked = of(0, 0);
    // SAFETY: the ioctl reads and writes this struct, and as many modes as the count says.
    unsafe { uapi::get_connector(card.as_raw_fd(), &mut asked) }?;
    let count = asked.count_modes;
    let mut modes = vec![uapi::ModeInfo::default(); count as usize];
    let mut asked = of(count, address_mut(&mut modes));
    // SAFETY: as above.
    unsafe { uapi::get_connector(card.as_raw_fd(), &mut asked) }?;
    let size = |mode: &uapi::ModeInfo| (u32::from(mode.hdisplay), u32::from(mode.vdisplay));
    let fits = modes.into_iter().find(|mode| size(mode) == (width, height));
    fits.ok_or_else(|| nothing(&format!("mode of {width}x{height}")))
}

fn blob(card: &File, mode: &uapi::ModeInfo) -> io::Result<u64> {
    let mut create = uapi::CreateBlob {
        data: std::ptr::from_ref(mode) as u64,
        length: std::mem::size_of::<uapi::ModeInfo>() as u32,
        blob_id: 0,
    };
    // SAFETY: the ioctl reads `length` bytes of the mode, and writes this struct.
    unsafe { uapi::create_blob(card.as_raw_fd(), &mut create) }?;
    Ok(create.blob_id.into())
}

fn nothing(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("the display has no {what}"))
}

/// Addresses have 64 bits in DRM's structs.
fn address<T>(values: &[T]) -> u64 {
    values.as_ptr() as u64
}

fn address_mut<T>(values: &mut [T]) -> u64 {
    values.as_mut_ptr() as u64
}
