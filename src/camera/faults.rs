//! What can go wrong with a camera, in words.

use crate::printer::fault::{Fault, Severity};

/// None is configured, and none is built in that could be asked.
pub const NO_CAMERA: Fault = Fault::new(
    Severity::NeedsUser,
    "camera/none",
    "This printer has no camera.",
    "",
    "Add `camera` to its configuration.",
);

/// It does not answer.
pub const UNREACHABLE: Fault = Fault::new(
    Severity::Retry,
    "camera/unreachable",
    "The camera of this printer does not answer.",
    "Its program does not run, or it has another address or no network.",
    "Open the address of `camera` in a browser on this host.",
);

/// It answers, but with no picture.
pub const NO_PICTURE: Fault = Fault::new(
    Severity::NeedsUser,
    "camera/no-picture",
    "The camera of this printer answers, but not with a JPEG picture.",
    "The address belongs to a page or a video, or the camera wants a login.",
    "Use the address that shows nothing but the picture (or the MJPEG stream).",
);

/// The picture has no end.
pub const TOO_BIG: Fault = Fault::new(
    Severity::NeedsUser,
    "camera/too-big",
    "The camera's picture is too big.",
    "Pictures of more than 4 MiB are not taken.",
    "Set a lower resolution in the camera's program.",
);

/// Others come first.
pub const BUSY: Fault = Fault::new(
    Severity::Retry,
    "camera/busy",
    "No picture was taken: other cameras are being asked.",
    "Few pictures are taken at once, so that they hold up nothing.",
    "Try again in a moment.",
);
