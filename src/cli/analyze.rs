//! `layerd analyze`: what a file holds, for people, as JSON, or as a picture of the plate.

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use super::exit::{Done, Exit, Failure};
use super::{Globals, out};
use crate::config::model::{Common, Origin};
use crate::daemon::read_config;
use crate::gcode::analysis::{Analysis, Heat};
use crate::gcode::analyze::{Bed, Options};
use crate::gcode::analyze_file::analyze_file;
use crate::gcode::picture::Picture;
use crate::gcode::picture_file::best_picture;
use crate::gcode::svg;

/// Files above this get a progress bar.
const BIG: u64 = 20 << 20;

/// Arguments of `analyze`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// G-code files: .gcode, .bgcode, .gcode.gz, .3mf, .gx
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Draw the plate from above
    #[arg(long, value_name = "OUT.svg")]
    svg: Option<PathBuf>,
    /// Write the file's own picture: PNG or JPEG
    #[arg(long, value_name = "OUT.png")]
    thumbnail: Option<PathBuf>,
    /// Check against the bed and limits of this configured printer
    #[arg(long, value_name = "NAME", conflicts_with = "bed")]
    printer: Option<String>,
    /// Check against a bed of this size, mm
    #[arg(long, value_name = "X,Y,Z", value_parser = bed_size)]
    bed: Option<Bed>,
}

fn bed_size(text: &str) -> Result<Bed, String> {
    let numbers: Result<Vec<f64>, _> = text.split(',').map(|t| t.trim().parse::<f64>()).collect();
    let good = |n: &f64| n.is_finite() && (1.0..=10_000.0).contains(n);
    match numbers.as_deref() {
        Ok([x, y, z]) if [x, y, z].into_iter().all(good) => Ok(Bed::rect(*x, *y, *z)),
        Ok([x, y]) if [x, y].into_iter().all(good) => Ok(Bed::rect(*x, *y, 0.0)),
        _ => Err("give width, depth and height in mm, such as 220,220,250".to_owned()),
    }
}

/// The bed of a printer as configured.
pub fn bed_of(common: &Common) -> Option<Bed> {
    let [x, y, z] = common.bed_mm?;
    let bed = Bed {
        round: common.bed_round,
        ..Bed::rect(x, y, z)
    };
    Some(if common.origin == Origin::Center {
        bed.centred()
    } else {
        bed
    })
}

/// Runs the verb.
pub fn run(globals: &Globals, args: &Args) -> Done {
    let options = options(globals, args)?;
    if (args.svg.is_some() || args.thumbnail.is_some()) && args.files.len() > 1 {
        return Err(Failure::usage(
            "--svg and --thumbnail write one picture: give one file.",
        ));
    }
    let mut all = Vec::new();
    let mut exit = Exit::Good;
    for path in &args.files {
        match analyze(path, &options, globals) {
            Ok(analysis) => all.push(analysis),
            Err(text) => {
                out::err(format!("layerd: {}", out::clean(&text)));
                exit = Exit::Failed;
            }
        }
    }
    if let (Some(target), Some(analysis)) = (&args.svg, all.first()) {
        write(target, svg::plate(analysis, options.bed).as_bytes())?;
    }
    if let (Some(target), Some(analysis), Some(path)) = (&args.thumbnail, all.first(), args.files.first()) {
        match thumbnail(path, analysis) {
            Ok(picture) => write(target, &picture.bytes)?,
            Err(text) => {
                out::err(format!("layerd: {}", out::clean(&text)));
                exit = Exit::Failed;
            }
        }
    }
    if globals.json {
        let json = if let ([one], [_]) = (all.as_slice(), args.files.as_slice()) {
            serde_json::to_string_pretty(one)
        } else {
            serde_json::to_string_pretty(&all)
        };
        if !(all.is_empty() && args.files.len() == 1) {
            out::line(json.map_err(|error| Failure::new(error.to_string()))?);
        }
    } else {
        for (index, analysis) in all.iter().enumerate() {
            if index > 0 {
                out::line("");
            }
            for line in report(analysis) {
                out::line(line);
            }
        }
    }
    Ok(exit)
}

fn write(target: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(target, bytes)
        .map_err(|error| Failure::new(format!("Cannot write {}: {error}.", target.display())))
}

fn thumbnail(path: &Path, analysis: &Analysis) -> Result<Picture, String> {
    let picture = best_picture(path, analysis).map_err(|error| error.to_string())?;
    let picture = picture.ok_or_else(|| format!("{}: there is no picture in this file", path.display()))?;
    picture.for_browsers().map_err(|error| error.to_string())
}

fn options(globals: &Globals, args: &Args) -> Result<Options, Failure> {
    let mut options = Options {
        bed: args.bed,
        index: false,
        ..Options::default()
    };
    if let Some(name) = &args.printer {
        let settings =
            read_config(globals.config_path()).map_err(|mistakes| Failure::usage(mistakes.to_string()))?;
        let Some(printer) = settings.printers.iter().find(|p| p.name == *name) else {
            return Err(Failure::usage(format!(
                "There is no printer \"{name}\" in the configuration."
            )));
        };
        let common = &printer.common;
        options.bed = bed_of(common);
        options.max_tool_c = common.max_tool_c.map(f64::from);
        options.max_bed_c = common.max_bed_c.map(f64::from);
    }
    Ok(options)
}

fn analyze(path: &Path, options: &Options, globals: &Globals) -> Result<Analysis, String> {
    let size = std::fs::metadata(path).map(|meta| meta.len()).unwrap_or(0);
    let bar = (size > BIG && out::is_err_tty() && globals.quiet == 0).then(|| {
        let style = ProgressStyle::with_template("{bar:32} {bytes}/{total_bytes} {eta} {msg}");
        let name = path
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        let bar = ProgressBar::new(size).with_message(out::clean(&name));
        match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    });
    let result = analyze_file(path, options, &mut |done, _| {
        if let Some(bar) = &bar {
            bar.set_position(done);
        }
        true
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    result
        .map(|(analysis, _)| analysis)
        .map_err(|error| error.to_string())
}

/// The report for people.
pub fn report(analysis: &Analysis) -> Vec<String> {
    let mut lines = Vec::new();
    let mut row = |name: &str, text: String| lines.push(format!("  {name:<11} {}", out::clean(&text)));
    let slicer = match (&analysis.slicer.name, &analysis.slicer.version) {
        (Some(name), Some(version)) => format!("{name} {version}"),
        (Some(name), None) => name.clone(),
        _ => "unknown".to_owned(),
    };
    let mut made = vec![slicer];
    made.extend(analysis.flavor.as_ref().map(|f| format!("{f} flavour")));
    made.extend(analysis.printer_model.as_ref().map(|p| format!("for {p}")));
    row("slicer", made.join(", "));
    if let Some([x, y, z]) = analysis.size_mm {
        let mut text = format!("{x:.2} × {y:.2} × {z:.2} mm");
        if let Some(part) = analysis.bounds.part {
            let ([x0, y0, _], [x1, y1, _]) = (part.min, part.max);
            text.push_str(&format!("   at X {x0:.2}…{x1:.2}  Y {y0:.2}…{y1:.2}"));
        }
        row("size", text);
    }
    let mut layers = Vec::new();
    layers.extend(analysis.layers.count.map(|n| n.to_string()));
    layers.extend(analysis.layers.height_mm.map(|h| format!("{h} mm")));
    layers.extend(analysis.layers.first_mm.map(|h| format!("first {h} mm")));
    row("layers", or_unknown(layers));
    let mut time = Vec::new();
    time.extend(
        analysis
            .time
            .slicer_s
            .map(|s| format!("{} by the slicer", out::duration(s.round() as u64))),
    );
    time.extend(
        analysis
            .time
            .model_s
            .map(|s| format!("{} by our model", out::duration(s.round() as u64))),
    );
    row("time", or_unknown(time));
    for one in &analysis.filament {
        let mut parts = Vec::new();
        parts.extend(one.mm.map(|mm| format!("{:.2} m", mm / 1000.0)));
        parts.extend(one.g.map(|g| format!("{g:.1} g")));
        parts.extend(one.material.clone());
        parts.extend(one.color.clone());
        row(&format!("filament T{}", one.tool), parts.join(", "));
    }
    let heat = |heat: &Heat| match (heat.print.or(heat.first), heat.max) {
        (Some(print), Some(max)) if max > print => Some(format!("{print} °C (up to {max})")),
        (Some(print), _) => Some(format!("{print} °C")),
        _ => None,
    };
    let mut heats: Vec<String> = analysis
        .temps
        .tools
        .iter()
        .filter_map(|(tool, h)| Some(format!("T{tool} {}", heat(h)?)))
        .collect();
    heats.extend(heat(&analysis.temps.bed).map(|t| format!("bed {t}")));
    heats.extend(heat(&analysis.temps.chamber).map(|t| format!("chamber {t}")));
    row("heat", or_unknown(heats));
    if !analysis.objects.is_empty() {
        let names: Vec<String> = analysis
            .objects
            .iter()
            .take(12)
            .map(|o| format!("{} {}", o.id, o.name))
            .collect();
        let more = analysis.objects.len().saturating_sub(names.len());
        let tail = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        row("objects", format!("{}{tail}", names.join(", ")));
    }
    if !analysis.pauses.is_empty() {
        let stops: Vec<String> = analysis
            .pauses
            .iter()
            .take(8)
            .map(|p| format!("{} at layer {}", p.kind.replace('_', " "), p.layer))
            .collect();
        row("stops", stops.join(", "));
    }
    if !analysis.thumbnails.is_empty() {
        let all: Vec<String> = analysis
            .thumbnails
            .iter()
            .map(|t| format!("{} {}×{}", t.format, t.width, t.height))
            .collect();
        row("pictures", all.join(", "));
    }
    row(
        "file",
        format!(
            "{} lines, {} commands, {} bytes",
            analysis.lines, analysis.commands, analysis.size
        ),
    );
    let name = out::clean(analysis.file.as_deref().unwrap_or("file"));
    let mut all = vec![name];
    all.append(&mut lines);
    for warning in &analysis.warnings {
        let place = warning
            .line
            .map_or(String::new(), |line| format!("line {line}: "));
        let times = if warning.count > 1 {
            format!(" ({} times)", warning.count)
        } else {
            String::new()
        };
        all.push(format!(
            "  ! {place}{}{times} [{}]",
            out::clean(&warning.message),
            warning.code
        ));
    }
    all
}

fn or_unknown(parts: Vec<String>) -> String {
    if parts.is_empty() {
        "unknown".to_owned()
    } else {
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bed_sizes_are_read() {
        assert_eq!(
            bed_size("220, 220,250").map(|b| (b.max, b.height_mm)),
            Ok(([220.0, 220.0], 250.0))
        );
        assert!(bed_size("220").is_err() && bed_size("a,b,c").is_err() && bed_size("0,1,1").is_err());
    }

    #[test]
    fn an_unknown_file_is_called_unknown() {
        let text = report(&Analysis::default()).join("\n");
        assert!(text.contains("slicer      unknown") && text.contains("time        unknown"));
    }
}
