//! Curves and maps as SVG.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::Error;

/// A named curve.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// Colours that differ for those who do not tell red from green, too (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(213, 94, 0),
    RGBColor(86, 180, 233),
];
const FONT: &str = "sans-serif";
/// Size of texts in plotters' measure, about 14 pixels.
const TEXT: u32 = 18;
/// Width of a letter of that size, in pixels.
const LETTER: usize = 8;
/// The most letters of a name beside a map, and above one.
const NAMES: (usize, usize) = (18, 14);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn failed(error: impl std::fmt::Display) -> Error {
    Error::file("report", format!("a chart cannot be drawn: {error}"))
}

fn drawn(
    size: (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> Result<(), Error>,
) -> Result<String, Error> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        draw(&area)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

fn colour(at: usize) -> RGBColor {
    COLOURS[at % COLOURS.len()]
}

/// The names of curves with their colours, as CSS writes them.
pub(super) fn legend(series: &[Series]) -> Vec<(String, String)> {
    let names = series.iter().map(|series| series.name.clone()).enumerate();
    names
        .map(|(at, name)| {
            let RGBColor(r, g, b) = colour(at);
            (name, format!("rgb({r} {g} {b})"))
        })
        .collect()
}

/// Curves over training steps. The vertical axis holds `least` and all points.
pub(super) fn curves(series: &[Series], least: f64, unit: &str) -> Result<String, Error> {
    let all = || series.iter().flat_map(|series| &series.points);
    let last = all().map(|point| point.0).fold(1.0, f64::max);
    let low = all().map(|point| point.1).fold(least, f64::min);
    let high = all().map(|point| point.1).fold(low + 1e-9, f64::max);
    let high = high + 0.05 * (high - low);
    drawn((520, 300), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .x_label_area_size(44)
            .y_label_area_size(62)
            .build_cartesian_2d(0.0..last, low..high)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_labels(6)
            .y_labels(5)
            .x_desc("step")
            .y_desc(unit)
            .x_label_formatter(&|x| format!("{x:.0}"))
            .label_style((FONT, TEXT))
            .axis_desc_style((FONT, TEXT))
            .draw()
            .map_err(failed)?;
        for (at, series) in series.iter().enumerate() {
            let style = colour(at).stroke_width(2);
            chart
                .draw_series(LineSeries::new(series.points.iter().copied(), style))
                .map_err(failed)?;
        }
        Ok(())
    })
}

/// A cell of a map: its text, and its colour from -1 (orange) over 0 (white) to 1 (blue).
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) weight: f64,
}

/// A map of cells with names at its sides, and its width in pixels.
pub(super) fn map(
    rows: &[String],
    columns: &[String],
    cells: &[Vec<Cell>],
) -> Result<(String, u32), Error> {
    let room = |texts: &mut dyn Iterator<Item = &String>, most: usize| {
        let longest = texts.map(|text| text.chars().count()).max().unwrap_or(0);
        (12 + LETTER * longest.min(most)) as i32
    };
    let left = room(&mut rows.iter(), NAMES.0);
    let top = room(&mut columns.iter(), NAMES.1);
    let mut texts = cells.iter().flatten().map(|cell| &cell.text);
    let cell = (room(&mut texts, 8).max(34), 30);
    let width = left + cell.0 * columns.len() as i32 + 10;
    let height = top + cell.1 * rows.len() as i32 + 10;
    let svg = drawn((width as u32, height as u32), |area| {
        let text = |text: &str, at: (i32, i32), h: HPos, colour: &RGBColor, turn: bool| {
            let font = (FONT, TEXT).into_font();
            let font = match turn {
                true => font.transform(FontTransform::Rotate270),
                false => font,
            };
            let style = font.color(colour).pos(Pos::new(h, VPos::Center));
            area.draw(&Text::new(text.to_owned(), at, style))
                .map_err(failed)
        };
        for (column, name) in columns.iter().enumerate() {
            let x = left + cell.0 * column as i32 + cell.0 / 2;
            let name = short(name, NAMES.1);
            text(&name, (x, top - 6), HPos::Left, &BLACK, true)?;
        }
        for (row, (name, cells)) in rows.iter().zip(cells).enumerate() {
            let y = top + cell.1 * row as i32;
            let middle = y + cell.1 / 2;
            let name = short(name, NAMES.0);
            text(&name, (left - 8, middle), HPos::Right, &BLACK, false)?;
            for (column, value) in cells.iter().enumerate() {
                let x = left + cell.0 * column as i32;
                let corners = [(x, y), (x + cell.0 - 2, y + cell.1 - 2)];
                let fill = Rectangle::new(corners, shade(value.weight).filled());
                area.draw(&fill).map_err(failed)?;
                let ink = match value.weight.abs() > 0.6 {
                    true => &WHITE,
                    false => &BLACK,
                };
                let at = (x + cell.0 / 2 - 1, middle);
                text(&value.text, at, HPos::Center, ink, false)?;
            }
        }
        Ok(())
    })?;
    Ok((svg, width as u32))
}

fn shade(weight: f64) -> RGBColor {
    let weight = if weight.is_finite() {
        weight.clamp(-1.0, 1.0)
    } else {
        0.0
    };
    let RGBColor(r, g, b) = if weight < 0.0 { COLOURS[4] } else { COLOURS[0] };
    let mix = |full: u8| (255.0 - weight.abs() * (255.0 - f64::from(full))).round() as u8;
    RGBColor(mix(r), mix(g), mix(b))
}

fn short(name: &str, most: usize) -> String {
    match name.chars().count() > most {
        true => name.chars().take(most - 1).chain(['…']).collect(),
        false => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_and_maps_are_svg_with_their_names_escaped() {
        let series = |name: &str| Series {
            name: name.into(),
            points: vec![(0.0, 0.25), (10.0, 0.75)],
        };
        let both = [series("reward"), series("b")];
        let svg = curves(&both, 0.0, "share <1>").unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains("share &lt;1&gt;") && !svg.contains("<1>"));
        assert_eq!(
            legend(&both)[0],
            ("reward".to_owned(), "rgb(0 114 178)".to_owned())
        );
        assert!(
            curves(&[], 0.0, "").unwrap().contains("</svg>"),
            "no curve is no fault"
        );
        let cell = |weight| Cell {
            text: format!("{weight}"),
            weight,
        };
        let names = ["coat".to_owned(), "a very long name of a class".to_owned()];
        let (svg, width) = map(
            &names,
            &names[..1],
            &[vec![cell(1.0)], vec![cell(f64::NAN)]],
        )
        .unwrap();
        assert!(svg.contains("coat") && svg.contains("…"));
        assert!(svg.contains(&format!("width=\"{width}\"")), "{width}");
    }

    #[test]
    fn shades_go_from_orange_over_white_to_blue() {
        assert_eq!(shade(0.0), RGBColor(255, 255, 255));
        assert_eq!(shade(1.0), COLOURS[0]);
        assert_eq!(shade(-2.0), COLOURS[4]);
    }
}
