//! Rows in columns, for people and for spreadsheets.

use unicode_width::UnicodeWidthStr as _;

/// A column: its name, and whether it holds numbers.
pub type Column = (&'static str, bool);

/// Rows in columns that are as wide as they need to be; numbers stand to the right.
pub fn text(columns: &[Column], rows: &[Vec<String>]) -> String {
    let widest = |n: usize, name: &str| {
        let cells = rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.width());
        cells.chain([name.width()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = columns.iter().enumerate().map(|(n, (name, _))| widest(n, name)).collect();
    let line = |cells: &[String]| {
        let cell = |((cell, (_, number)), width): ((&String, &Column), &usize)| {
            let space = " ".repeat(width.saturating_sub(cell.width()));
            if *number { format!("{space}{cell}") } else { format!("{cell}{space}") }
        };
        let cells: Vec<String> = cells.iter().zip(columns).zip(&widths).map(cell).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    let names: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    std::iter::once(line(&names)).chain(rows.iter().map(|row| line(row))).collect()
}

/// Rows as RFC 4180 has them, with line feeds. What a spreadsheet would take for a formula is text.
pub fn csv(rows: impl Iterator<Item = Vec<String>>) -> String {
    let field = |text: &String| {
        let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.clone() };
        match text.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text,
        }
    };
    rows.map(|row| format!("{}\n", row.iter().map(field).collect::<Vec<_>>().join(","))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let rows = [row(&["web01", "12"]), row(&["größer", "3"])];
        assert_eq!(text(&[("host", false), ("cores", true)], &rows), "host    cores\nweb01      12\ngrößer      3\n");
    }

    #[test]
    fn fields_stay_one_field_and_no_formula() {
        let rows = [row(&["a,b", "say \"x\"", "=1+1", "2"])];
        assert_eq!(csv(rows.into_iter()), "\"a,b\",\"say \"\"x\"\"\",'=1+1,2\n");
    }
}
