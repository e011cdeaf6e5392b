//! The plate seen from above, as an SVG picture: bed, objects with ids and names, what lies outside.

use std::fmt::Write as _;

use super::analysis::{Analysis, Object};
use super::analyze::Bed;
use super::labels::{self, Place, Rect, Shape};

/// Fill and line of the objects, in turn.
const COLORS: &[(&str, &str)] = &[
    ("#8ecae6", "#1d6a8c"),
    ("#ffd6a5", "#b0681a"),
    ("#b7e4c7", "#2d6a4f"),
    ("#e0c3fc", "#6a3fa0"),
    ("#ffc8dd", "#a83a66"),
    ("#d9ed92", "#5f7d1e"),
    ("#bde0fe", "#32609b"),
    ("#f1dca7", "#8a6d1f"),
];

/// What is written on the part where there are no objects.
const PART: &str = "part (bounds)";

/// Most objects that are drawn; what a person can make out.
const MAX_DRAWN: usize = 1000;

/// Height of the lines at the top, in hundredths of the picture.
const TITLE: f64 = 9.0;

/// Draws the plate. Without a bed one is guessed around the print.
pub fn plate(analysis: &Analysis, bed: Option<Bed>) -> String {
    let guessed = bed.is_none();
    let bed = bed.unwrap_or_else(|| guess(analysis));
    let ([bx0, by0], [bx1, by1]) = (bed.min, bed.max);
    // Everything must be visible, the part that hangs over the edge too.
    let (mut low, mut high) = ([bx0, by0], [bx1, by1]);
    if let Some(part) = analysis.bounds.extruding {
        let ([x0, y0, _], [x1, y1, _]) = (part.min, part.max);
        let ([lx, ly], [hx, hy]) = (low, high);
        low = [lx.min(x0), ly.min(y0)].map(|v| v.max(-5000.0));
        high = [hx.max(x1), hy.max(y1)].map(|v| v.min(5000.0));
    }
    let ([lx, ly], [hx, hy]) = (low, high);
    let unit = ((hx - lx).max(hy - ly) / 100.0).clamp(0.2, 50.0);
    let margin = 5.0 * unit;
    let (width, height) = (hx - lx + 2.0 * margin, hy - ly + 2.0 * margin + TITLE * unit);
    // Y points up on a bed and down in a picture.
    let view = View {
        left: lx - margin,
        top: hy + margin + TITLE * unit,
        unit,
    };
    let mut out = String::with_capacity(8192);
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.2} {height:.2}\" width=\"900\" \
         height=\"{:.0}\" font-family=\"Inter,Helvetica,Arial,sans-serif\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fbfaf7\"/>\n",
        900.0 * height / width.max(1.0)
    );
    title(&mut out, analysis, &view, margin);
    draw_bed(&mut out, &bed, guessed, &view);
    if analysis.objects.iter().all(|o| o.bbox.is_none()) {
        draw_part(&mut out, analysis, &bed, &view);
    }
    let drawn: Vec<&Object> = analysis
        .objects
        .iter()
        .take(MAX_DRAWN)
        .filter(|o| o.bbox.is_some())
        .collect();
    for (index, object) in drawn.iter().enumerate() {
        draw_object(&mut out, object, index, &bed, &view);
    }
    let frame = Rect {
        min: [0.0, TITLE * unit],
        max: [width, height],
    };
    draw_labels(&mut out, &drawn, &bed, &view, frame);
    out.push_str("</svg>\n");
    out
}

struct View {
    left: f64,
    top: f64,
    /// A hundredth of the picture, mm: everything that is not to scale is measured in it.
    unit: f64,
}

impl View {
    fn x(&self, x: f64) -> f64 {
        x - self.left
    }
    fn y(&self, y: f64) -> f64 {
        self.top - y
    }
}

/// A square bed of a usual size around the print.
fn guess(analysis: &Analysis) -> Bed {
    let Some(part) = analysis.bounds.extruding else {
        return Bed::rect(220.0, 220.0, 0.0);
    };
    let ([x0, y0, _], [x1, y1, _]) = (part.min, part.max);
    if x0 < -10.0 || y0 < -10.0 {
        let half = [x0.abs(), y0.abs(), x1.abs(), y1.abs()]
            .into_iter()
            .fold(10.0, f64::max);
        let half = (half / 10.0).ceil().min(500.0) * 10.0;
        return Bed {
            min: [-half; 2],
            max: [half; 2],
            height_mm: 0.0,
            round: false,
        };
    }
    let size = [180.0, 220.0, 256.0, 300.0, 350.0, 400.0, 500.0]
        .into_iter()
        .find(|s| x1.max(y1) <= *s);
    let size = size.unwrap_or(x1.max(y1).min(5000.0));
    Bed::rect(size, size, 0.0)
}

fn title(out: &mut String, analysis: &Analysis, view: &View, margin: f64) {
    let u = view.unit;
    let name = analysis.file.as_deref().unwrap_or("plate");
    let _ = writeln!(
        out,
        "<text x=\"{margin:.2}\" y=\"{:.2}\" font-size=\"{:.2}\" font-weight=\"600\" fill=\"#22223b\">{}</text>",
        4.6 * u,
        3.4 * u,
        escape(&shorten(name, 48))
    );
    let mut facts = Vec::new();
    if let Some([x, y, z]) = analysis.size_mm {
        facts.push(format!("{x:.1} × {y:.1} × {z:.1} mm"));
    }
    if let Some(count) = analysis.layers.count {
        facts.push(format!("{count} layers"));
    }
    match analysis.objects.len() {
        0 => {}
        1 => facts.push("1 object".to_owned()),
        n => facts.push(format!("{n} objects")),
    }
    if let Some(name) = &analysis.slicer.name {
        facts.push(name.clone());
    }
    let _ = writeln!(
        out,
        "<text x=\"{margin:.2}\" y=\"{:.2}\" font-size=\"{:.2}\" fill=\"#5c5f73\">{}</text>",
        8.2 * u,
        2.3 * u,
        escape(&facts.join("  ·  "))
    );
}

fn draw_bed(out: &mut String, bed: &Bed, guessed: bool, view: &View) {
    let ([x0, y0], [x1, y1]) = (bed.min, bed.max);
    let u = view.unit;
    let (left, top, width, height) = (view.x(x0), view.y(y1), x1 - x0, y1 - y0);
    let dash = if guessed {
        format!(" stroke-dasharray=\"{:.2} {:.2}\"", u, u)
    } else {
        String::new()
    };
    let style = format!(
        "fill=\"#ffffff\" stroke=\"#9a9cab\" stroke-width=\"{:.2}\"{dash}",
        0.3 * u
    );
    if bed.round {
        let (cx, cy, r) = (left + width / 2.0, top + height / 2.0, width.min(height) / 2.0);
        let _ = writeln!(
            out,
            "<circle cx=\"{cx:.2}\" cy=\"{cy:.2}\" r=\"{r:.2}\" {style}/>"
        );
        let _ = writeln!(
            out,
            "<clipPath id=\"bed\"><circle cx=\"{cx:.2}\" cy=\"{cy:.2}\" r=\"{r:.2}\"/></clipPath>"
        );
    } else {
        let shape = format!("x=\"{left:.2}\" y=\"{top:.2}\" width=\"{width:.2}\" height=\"{height:.2}\"");
        let _ = writeln!(out, "<rect {shape} rx=\"{u:.2}\" {style}/>");
        let _ = writeln!(out, "<clipPath id=\"bed\"><rect {shape}/></clipPath>");
    }
    draw_grid(out, bed, view);
    let words = if guessed { "bed not given" } else { "" };
    let label = format!("{:.0} × {:.0} mm {words}", x1 - x0, y1 - y0);
    let _ = writeln!(
        out,
        "<text x=\"{:.2}\" y=\"{:.2}\" font-size=\"{:.2}\" fill=\"#8a8c9b\" text-anchor=\"end\">{}</text>",
        view.x(x1),
        view.y(y0) + 2.6 * u,
        1.9 * u,
        escape(label.trim())
    );
    if (x0..=x1).contains(&0.0) && (y0..=y1).contains(&0.0) {
        let (ox, oy) = (view.x(0.0), view.y(0.0));
        let _ = writeln!(
            out,
            "<path d=\"M{ox:.2} {:.2}V{oy:.2}H{:.2}\" fill=\"none\" stroke=\"#e07a5f\" stroke-width=\"{:.2}\"/>",
            oy - 4.0 * u,
            ox + 4.0 * u,
            0.4 * u
        );
    }
}

/// A line every 10 mm, heavier every 50.
fn draw_grid(out: &mut String, bed: &Bed, view: &View) {
    let ([x0, y0], [x1, y1]) = (bed.min, bed.max);
    let step = if (x1 - x0).max(y1 - y0) > 1000.0 {
        100.0
    } else {
        10.0
    };
    let lines = |from: f64, to: f64| {
        let first = (from / step).ceil() as i64;
        let last = (to / step).floor() as i64;
        (first..=last.min(first + 500)).map(move |n| (n as f64 * step, n.rem_euclid(5) == 0))
    };
    let up = lines(x0, x1).map(|(x, heavy)| {
        (
            format!("M{:.2} {:.2}V{:.2}", view.x(x), view.y(y0), view.y(y1)),
            heavy,
        )
    });
    let across = lines(y0, y1).map(|(y, heavy)| {
        (
            format!("M{:.2} {:.2}H{:.2}", view.x(x0), view.y(y), view.x(x1)),
            heavy,
        )
    });
    out.push_str("<g clip-path=\"url(#bed)\">\n");
    for (path, heavy) in up.chain(across) {
        let (tint, wide) = if heavy {
            ("#d9dae3", 0.16)
        } else {
            ("#eeeef3", 0.1)
        };
        let width = wide * view.unit;
        let _ = writeln!(
            out,
            "<path d=\"{path}\" stroke=\"{tint}\" stroke-width=\"{width:.2}\"/>"
        );
    }
    out.push_str("</g>\n");
}

/// The part as a whole, where no objects can be told apart.
fn draw_part(out: &mut String, analysis: &Analysis, bed: &Bed, view: &View) {
    let Some(part) = analysis.bounds.part else { return };
    let ([x0, y0, _], [x1, y1, _]) = (part.min, part.max);
    let object = Object {
        name: PART.to_owned(),
        polygon: vec![[x0, y0], [x1, y0], [x1, y1], [x0, y1]],
        bbox: Some([x0, y0, x1, y1]),
        center: Some([(x0 + x1) / 2.0, (y0 + y1) / 2.0]),
        ..Object::default()
    };
    draw_object(out, &object, 0, bed, view);
    let frame = Rect {
        min: [f64::MIN; 2],
        max: [f64::MAX; 2],
    };
    draw_labels(out, &[&object], bed, view, frame);
}

fn draw_object(out: &mut String, object: &Object, index: usize, bed: &Bed, view: &View) {
    let u = view.unit;
    let (fill, line) = colors(index);
    let mut points = String::new();
    for [x, y] in &object.polygon {
        let _ = write!(points, "{:.2},{:.2} ", view.x(*x), view.y(*y));
    }
    let title = format!("<title>{} · {}</title>", object.id, escape(&object.name));
    if is_outside(object, bed) {
        // Red all over, then the part on the bed in its own colour.
        let _ = writeln!(
            out,
            "<polygon points=\"{points}\" fill=\"#f4a9a0\" stroke=\"#c1121f\" stroke-width=\"{:.2}\" \
             stroke-linejoin=\"round\"/>",
            0.45 * u
        );
        let _ = writeln!(
            out,
            "<polygon points=\"{points}\" clip-path=\"url(#bed)\" fill=\"{fill}\" stroke=\"{line}\" \
             stroke-width=\"{:.2}\" stroke-linejoin=\"round\">{title}</polygon>",
            0.35 * u
        );
    } else {
        let _ = writeln!(
            out,
            "<polygon points=\"{points}\" fill=\"{fill}\" fill-opacity=\"0.85\" stroke=\"{line}\" \
             stroke-width=\"{:.2}\" stroke-linejoin=\"round\">{title}</polygon>",
            0.35 * u
        );
    }
}

fn colors(index: usize) -> (&'static str, &'static str) {
    COLORS
        .get(index % COLORS.len())
        .copied()
        .unwrap_or(("#8ecae6", "#1d6a8c"))
}

/// Numbers and names, over all objects.
fn draw_labels(out: &mut String, objects: &[&Object], bed: &Bed, view: &View, frame: Rect) {
    let shapes: Vec<Shape> = objects
        .iter()
        .map(|object| {
            let mut name = shorten(&object.name, 28);
            if is_outside(object, bed) {
                name.push_str(" (outside)");
            }
            Shape {
                outline: object
                    .polygon
                    .iter()
                    .map(|[x, y]| [view.x(*x), view.y(*y)])
                    .collect(),
                // The part as a whole has no number.
                id: if object.name == PART {
                    String::new()
                } else {
                    object.id.to_string()
                },
                name,
            }
        })
        .collect();
    let labels = labels::place(&shapes, view.unit, frame);
    for (index, ((shape, object), label)) in shapes.iter().zip(objects).zip(labels).enumerate() {
        let Some(label) = label else { continue };
        let ink = if is_outside(object, bed) {
            "#7d0a14"
        } else {
            colors(index).1
        };
        let mut text = |place: Place, weight: u16, words: &str| {
            let [x, y] = place.at;
            // A halo keeps the lines of the bed off the letters.
            let _ = writeln!(
                out,
                "<text x=\"{x:.2}\" y=\"{y:.2}\" font-size=\"{:.2}\" font-weight=\"{weight}\" fill=\"{ink}\" \
                 text-anchor=\"middle\" paint-order=\"stroke\" stroke=\"#ffffff\" stroke-opacity=\"0.7\" \
                 stroke-width=\"{:.2}\">{}</text>",
                place.size,
                place.size * 0.14,
                escape(words)
            );
        };
        text(label.id, 700, &shape.id);
        if let Some(place) = label.name {
            text(place, 400, &shape.name);
        }
    }
}

fn is_outside(object: &Object, bed: &Bed) -> bool {
    let ([bx0, by0], [bx1, by1]) = (bed.min, bed.max);
    let radius = (bx1 - bx0).min(by1 - by0) / 2.0;
    let (cx, cy) = ((bx0 + bx1) / 2.0, (by0 + by1) / 2.0);
    object.polygon.iter().any(|[x, y]| {
        let beyond = *x < bx0 - 0.01 || *x > bx1 + 0.01 || *y < by0 - 0.01 || *y > by1 + 0.01;
        beyond || (bed.round && (x - cx).hypot(y - cy) > radius + 0.01)
    })
}

fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let head: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{head}…")
}

/// Text that cannot break out of the picture.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_the_picture_and_outside_is_shown() {
        let mut analysis = Analysis::default();
        analysis.objects.push(Object {
            id: 4,
            name: "<script>&\"x\"\u{0}".to_owned(),
            polygon: vec![[-5.0, 0.0], [10.0, 0.0], [10.0, 10.0]],
            bbox: Some([-5.0, 0.0, 10.0, 10.0]),
            ..Object::default()
        });
        let svg = plate(&analysis, Some(Bed::rect(100.0, 100.0, 0.0)));
        assert!(svg.contains("&lt;script&gt;&amp;&quot;x&quot; ") && !svg.contains("<script>"));
        assert!(svg.contains("(outside)"));
    }

    #[test]
    fn an_empty_file_still_has_a_plate() {
        assert!(plate(&Analysis::default(), None).starts_with("<svg"));
    }
}
