// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Writes the few shapes of SVG that the timeline needs. A style is a list of SVG attributes.

use std::fmt::Write;

/// Width of a character, as a part of the font's size: DejaVu Sans, the widest usual sans-serif.
const CHARACTER: f64 = 0.62;

/// A picture that is being drawn. Writing to a string can't fail, so results are dropped.
#[derive(Default)]
pub struct Svg(String);

impl Svg {
    pub fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), style: &str) {
        let _ = writeln!(
            self.0,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" {style}/>"
        );
    }

    pub fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), style: &str) {
        let _ = writeln!(
            self.0,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {style}/>"
        );
    }

    /// A line of text that begins at `x`; `y` is its base line.
    pub fn text(&mut self, (x, y): (f64, f64), style: &str, content: &str) {
        let _ = writeln!(self.0, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{content}</text>");
    }

    /// Text in the middle of a box, in the first wording that fits.
    pub fn label(
        &mut self,
        (x, y): (f64, f64),
        (width, height): (f64, f64),
        style: &str,
        wordings: &[&str],
    ) {
        if let Some(fits) = wordings.iter().find(|text| text_width(text, 11.0) <= width - 4.0) {
            let style = format!("text-anchor=\"middle\" font-size=\"11\" {style}");
            self.text((x + width / 2.0, y + height / 2.0 + 4.0), &style, fits);
        }
    }

    /// A number in a circle, for the text below the picture to refer to.
    pub fn number(&mut self, (x, y): (f64, f64), number: usize) {
        let _ = writeln!(self.0, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"8\" fill=\"#222\"/>");
        let style = "text-anchor=\"middle\" font-size=\"11\" font-weight=\"bold\" fill=\"white\"";
        self.text((x, y + 4.0), style, &number.to_string());
    }

    /// The whole document.
    pub fn finish(self, width: f64, height: f64) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width} {height:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <defs><pattern id=\"wait\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
             patternTransform=\"rotate(45)\"><rect width=\"2\" height=\"6\" fill=\"#999\"/>\
             </pattern></defs>\n<rect width=\"{width}\" height=\"{height:.0}\" fill=\"white\"/>\n\
             {}</svg>\n",
            self.0
        )
    }
}

/// Estimates the width of a text.
pub fn text_width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * CHARACTER
}
