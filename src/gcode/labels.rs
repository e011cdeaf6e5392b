//! Where the names of the objects go in the picture of a plate: inside where they fit, else beside, and never
//! over another object or name.
//!
//! All in the picture's own coordinates: mm, Y down.

/// Width of a letter and height of a line, as shares of the letters' size; generous for common fonts.
const LETTER: f64 = 0.6;
const LINE: f64 = 1.2;
/// How far letters reach above their base line.
const RISE: f64 = 0.8;
/// Sizes of names inside and beside an object, in hundredths of the picture, largest first.
const INSIDE: [f64; 3] = [2.4, 1.9, 1.5];
const BESIDE: [f64; 2] = [1.8, 1.4];

/// A rectangle with sides along the axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    /// Upper left corner.
    pub min: [f64; 2],
    /// Lower right corner.
    pub max: [f64; 2],
}

impl Rect {
    /// Around points; `None` without any.
    pub fn around(points: &[[f64; 2]]) -> Option<Rect> {
        let mut all = points.iter();
        let first = *all.next()?;
        let (min, max) = all.fold((first, first), |([x0, y0], [x1, y1]), [x, y]| {
            ([x0.min(*x), y0.min(*y)], [x1.max(*x), y1.max(*y)])
        });
        Some(Rect { min, max })
    }

    fn of_text(text: &str, size: f64, [x, y]: [f64; 2]) -> Rect {
        let half = text.chars().count() as f64 * LETTER * size / 2.0;
        Rect {
            min: [x - half, y - RISE * size],
            max: [x + half, y + (LINE - RISE) * size],
        }
    }

    fn touches(&self, other: &Rect) -> bool {
        let ([ax0, ay0], [ax1, ay1]) = (self.min, self.max);
        let ([bx0, by0], [bx1, by1]) = (other.min, other.max);
        ax0 < bx1 && bx0 < ax1 && ay0 < by1 && by0 < ay1
    }

    fn holds(&self, other: &Rect) -> bool {
        let ([ax0, ay0], [ax1, ay1]) = (self.min, self.max);
        let ([bx0, by0], [bx1, by1]) = (other.min, other.max);
        ax0 <= bx0 && ay0 <= by0 && ax1 >= bx1 && ay1 >= by1
    }

    fn corners(&self) -> [[f64; 2]; 4] {
        let ([x0, y0], [x1, y1]) = (self.min, self.max);
        [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
    }
}

/// What is to be labelled.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Its outline, convex or nearly.
    pub outline: Vec<[f64; 2]>,
    /// Its number.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A text: the middle of its base line, and its size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Middle of the base line.
    pub at: [f64; 2],
    /// Size of the letters.
    pub size: f64,
}

/// Where the texts of one shape go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Label {
    /// The number; on the shape.
    pub id: Place,
    /// The name; `None` where there is no room for it.
    pub name: Option<Place>,
}

/// Finds a place for every text; `unit` is a hundredth of the picture, `frame` what names must stay in.
pub fn place(shapes: &[Shape], unit: f64, frame: Rect) -> Vec<Option<Label>> {
    let boxes: Vec<Option<Rect>> = shapes.iter().map(|shape| Rect::around(&shape.outline)).collect();
    let mut taken: Vec<Rect> = Vec::new();
    let mut labels = Vec::with_capacity(shapes.len());
    for (index, (shape, around)) in shapes.iter().zip(&boxes).enumerate() {
        let Some(around) = around else {
            labels.push(None);
            continue;
        };
        let free = |text: &Rect, taken: &[Rect]| {
            let others = boxes.iter().enumerate().filter(|(other, _)| *other != index);
            frame.holds(text)
                && !others.filter_map(|(_, b)| b.as_ref()).any(|b| b.touches(text))
                && !taken.iter().any(|t| t.touches(text))
        };
        let (inside, alone) = within(shape, around, unit);
        let inside = inside.filter(|label| {
            let texts = rects(shape, label);
            texts
                .iter()
                .flatten()
                .all(|text| !taken.iter().any(|t| t.touches(text)))
        });
        let label = inside.unwrap_or_else(|| {
            taken.extend(Some(Rect::of_text(&shape.id, alone.size, alone.at)));
            let name = beside(&shape.name, around, unit)
                .find(|p| free(&Rect::of_text(&shape.name, p.size, p.at), &taken));
            Label { id: alone, name }
        });
        taken.extend(rects(shape, &label).into_iter().flatten());
        labels.push(Some(label));
    }
    labels
}

/// The rectangles of a label's texts.
fn rects(shape: &Shape, label: &Label) -> [Option<Rect>; 2] {
    let name = label.name.map(|p| Rect::of_text(&shape.name, p.size, p.at));
    [Some(Rect::of_text(&shape.id, label.id.size, label.id.at)), name]
}

/// Number and name on the shape, if both fit; and the place of the number alone.
fn within(shape: &Shape, around: &Rect, unit: f64) -> (Option<Label>, Place) {
    let [cx, cy] = middle(&shape.outline, around);
    let ([x0, y0], [x1, y1]) = (around.min, around.max);
    let (wide, tall) = (x1 - x0, y1 - y0);
    let letters = shape.id.chars().count().max(1) as f64;
    // Below it there is to be room for the name, unless it stands alone.
    let id_size = |share: f64| {
        (tall * share)
            .min(wide * 0.7 / (letters * LETTER))
            .clamp(1.3 * unit, 4.2 * unit)
    };
    let both = INSIDE.iter().map(|size| size * unit).find_map(|size| {
        let id = Place {
            at: [cx, cy],
            size: id_size(0.42),
        };
        let name = Place {
            at: [cx, cy + 0.35 * unit + LINE * size],
            size,
        };
        let text = Rect::of_text(&shape.name, name.size, name.at);
        let fits = text
            .corners()
            .iter()
            .all(|corner| inside(&shape.outline, *corner));
        fits.then_some(Label { id, name: Some(name) })
    });
    let size = id_size(0.6);
    let alone = Place {
        at: [cx, cy + size * 0.36],
        size,
    };
    (both, alone)
}

/// Places for a name around a rectangle, the best first.
fn beside(name: &str, around: &Rect, unit: f64) -> impl Iterator<Item = Place> {
    let ([x0, y0], [x1, y1]) = (around.min, around.max);
    let (cx, cy) = ((x0 + x1) / 2.0, (y0 + y1) / 2.0);
    let letters = name.chars().count() as f64;
    BESIDE.into_iter().flat_map(move |share| {
        let size = share * unit;
        let half = letters * LETTER * size / 2.0;
        let gap = 0.5 * unit;
        let (below, above) = (y1 + gap + RISE * size, y0 - gap - (LINE - RISE) * size);
        let level = cy + 0.35 * size;
        let (right, left) = (x1 + gap + half, x0 - gap - half);
        let (to_right, to_left) = (x0 + half, x1 - half);
        [
            [cx, below],
            [cx, above],
            [right, level],
            [left, level],
            [to_right, below],
            [to_left, below],
            [to_right, above],
            [to_left, above],
        ]
        .map(|at| Place { at, size })
    })
}

/// Centre of gravity of an outline; the middle of its box where it has no area.
fn middle(outline: &[[f64; 2]], around: &Rect) -> [f64; 2] {
    let ([x0, y0], [x1, y1]) = (around.min, around.max);
    let centre = [(x0 + x1) / 2.0, (y0 + y1) / 2.0];
    let (mut area, mut sum) = (0.0, [0.0, 0.0]);
    for ([ax, ay], [bx, by]) in outline.iter().zip(outline.iter().cycle().skip(1)) {
        let part = ax * by - ay * bx;
        area += part;
        sum = [sum[0] + (ax + bx) * part, sum[1] + (ay + by) * part];
    }
    if area.abs() < 1e-6 {
        return centre;
    }
    let [x, y] = sum.map(|s| s / (3.0 * area));
    if x >= x0 && x <= x1 && y >= y0 && y <= y1 {
        [x, y]
    } else {
        centre
    }
}

/// Whether a point lies within an outline (even–odd rule).
fn inside(outline: &[[f64; 2]], [x, y]: [f64; 2]) -> bool {
    let next = outline.iter().cycle().skip(1);
    let crossings = outline
        .iter()
        .zip(next)
        .filter(|([ax, ay], [bx, by])| (*ay > y) != (*by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax);
    crossings.count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRAME: Rect = Rect {
        min: [0.0, 0.0],
        max: [220.0, 220.0],
    };

    fn square(x: f64, y: f64, side: f64, name: &str, id: usize) -> Shape {
        Shape {
            outline: vec![[x, y], [x + side, y], [x + side, y + side], [x, y + side]],
            id: id.to_string(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn a_name_goes_inside_where_it_fits_and_below_where_not() {
        let labels = place(
            &[
                square(100.0, 100.0, 60.0, "cube.stl", 0),
                square(20.0, 20.0, 6.0, "small.stl", 1),
            ],
            2.2,
            FRAME,
        );
        let (wide, small) = (labels[0].unwrap(), labels[1].unwrap());
        let name = wide.name.unwrap();
        assert!(name.at[1] > 130.0 && name.at[1] < 160.0 && name.size > 5.0);
        assert!(small.name.unwrap().at[1] > 26.0);
    }

    #[test]
    fn a_neighbour_below_moves_the_name_up() {
        let labels = place(
            &[
                square(50.0, 50.0, 8.0, "upper.stl", 0),
                square(50.0, 59.0, 8.0, "lower.stl", 1),
            ],
            2.2,
            FRAME,
        );
        assert!(labels[0].unwrap().name.unwrap().at[1] < 50.0);
        assert!(labels[1].unwrap().name.unwrap().at[1] > 67.0);
    }

    proptest! {
        #[test]
        fn no_name_lies_over_another_object_or_text(
            spots in prop::collection::vec((5.0..200.0f64, 5.0..200.0f64, 2.0..30.0f64, "[a-z]{1,12}"), 1..40),
        ) {
            let shapes: Vec<Shape> = spots.iter().enumerate()
                .map(|(id, (x, y, side, name))| square(*x, *y, *side, name, id))
                .collect();
            let labels = place(&shapes, 2.2, FRAME);
            let names: Vec<Option<Rect>> = shapes.iter().zip(&labels)
                .map(|(shape, label)| rects(shape, &label.unwrap())[1])
                .collect();
            for (i, name) in names.iter().enumerate() {
                let Some(name) = name else { continue };
                prop_assert!(names.iter().skip(i + 1).flatten().all(|other| !other.touches(name)));
                let own = Rect::around(&shapes[i].outline).unwrap();
                let outside = !own.holds(name);
                for (j, shape) in shapes.iter().enumerate().filter(|(j, _)| *j != i && outside) {
                    prop_assert!(!Rect::around(&shape.outline).unwrap().touches(name), "{i} {j}");
                }
            }
        }
    }
}
