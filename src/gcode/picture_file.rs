//! The pictures of a file on the disk, whatever its container.

use std::cmp::Reverse;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::analysis::{Analysis, Format, Thumbnail};
use super::analyze_file::AnalyzeError;
use super::container::{self, ContainerError, gzip, threemf};
use super::picture::{MAX_BYTES, Picture};

/// The picture with the most pixels that is whole; `None` if the file has none.
///
/// ```no_run
/// # use std::path::Path;
/// # use layerd_gcode::{analyze::Options, analyze_file::analyze_file};
/// use layerd_gcode::picture_file::best_picture;
///
/// let path = Path::new("benchy.gcode");
/// let (analysis, _) = analyze_file(path, &Options::default(), &mut |_, _| true)?;
/// if let Some(picture) = best_picture(path, &analysis)? {
///     println!("{} × {} pixels", picture.width, picture.height);
/// }
/// # Ok::<(), layerd_gcode::analyze_file::AnalyzeError>(())
/// ```
pub fn best_picture(path: &Path, analysis: &Analysis) -> Result<Option<Picture>, AnalyzeError> {
    // What a screen's own plug-in writes as text of colours is no picture file.
    let mut all: Vec<&Thumbnail> = analysis
        .thumbnails
        .iter()
        .filter(|t| t.format != "colpic")
        .collect();
    all.sort_by_key(|t| Reverse((u64::from(t.width) * u64::from(t.height), t.bytes)));
    let mut first = None;
    for thumbnail in all {
        match read(path, thumbnail) {
            Ok(picture) => return Ok(Some(picture)),
            Err(error) => first = first.or(Some(error)),
        }
    }
    first.map_or(Ok(None), |error| Err(AnalyzeError::new(path, error)))
}

fn read(path: &Path, thumbnail: &Thumbnail) -> Result<Picture, ContainerError> {
    let (offset, len) = (thumbnail.offset, thumbnail.bytes);
    if len / 2 > MAX_BYTES as u64 {
        return Err(ContainerError::Hostile("its picture is too big".to_owned()));
    }
    let mut file = File::open(path)?;
    let mut head = Vec::new();
    file.by_ref().take(container::HEAD_LEN).read_to_end(&mut head)?;
    file.seek(SeekFrom::Start(0))?;
    let bytes = match (container::sniff(&head), &thumbnail.entry) {
        (Format::ThreeMf, Some(entry)) => threemf::part(&mut file, entry, offset, len)?,
        (Format::GcodeGz, _) => gzip::part(file, offset, len)?,
        _ => {
            file.seek(SeekFrom::Start(offset))?;
            container::part(&mut file, 0, len)?
        }
    };
    Picture::cut(&bytes).map_err(|error| ContainerError::Damaged(error.to_string()))
}
