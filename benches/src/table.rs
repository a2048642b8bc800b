//! One table, for people or as JSON lines.

use serde_json::json;

/// What stands in a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A name.
    Text(String),
    /// A number and how many decimals are shown; JSON has them all.
    Number(f64, usize),
    /// Not measured.
    None,
}

impl Value {
    fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number, decimals) => format!("{number:.decimals$}"),
            Self::None => "-".to_string(),
        }
    }

    fn json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Number(number, _) => json!(number),
            Self::None => serde_json::Value::Null,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_string())
    }
}

/// Rows under headings; the first column is the row's name.
#[derive(Clone, Debug)]
pub struct Table {
    title: &'static str,
    headings: &'static [&'static str],
    rows: Vec<Vec<Value>>,
    notes: &'static [&'static str],
}

impl Table {
    /// An empty table. `notes` are printed below it.
    pub fn new(title: &'static str, headings: &'static [&'static str], notes: &'static [&'static str]) -> Self {
        Self { title, headings, rows: Vec::new(), notes }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<Value>) {
        self.rows.push(cells);
    }

    /// Prints it, unless it is empty.
    pub fn print(&self, as_json: bool) {
        if !self.rows.is_empty() {
            print!("{}", if as_json { self.json_lines() } else { self.text() });
        }
    }

    fn json_lines(&self) -> String {
        let object = |row: &Vec<Value>| {
            let pairs = self.headings.iter().zip(row).map(|(heading, value)| (heading.to_string(), value.json()));
            let title = [("table".to_string(), json!(self.title))];
            serde_json::Value::Object(title.into_iter().chain(pairs).collect()).to_string() + "\n"
        };
        self.rows.iter().map(object).collect()
    }

    fn text(&self) -> String {
        let shown: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(Value::shown).collect()).collect();
        let width = |column: usize, heading: &str| {
            let cells = shown.iter().filter_map(|row| row.get(column)).map(String::len);
            cells.chain([heading.len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = self.headings.iter().enumerate().map(|(i, h)| width(i, h)).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut out = String::new();
            for (column, (cell, width)) in cells.zip(&widths).enumerate() {
                // Names to the left, numbers to the right.
                out += &if column == 0 { format!("  {cell:<width$}") } else { format!("  {cell:>width$}") };
            }
            out.trim_end().to_string() + "\n"
        };
        let mut out = format!("{}\n", self.title);
        out += &line(&mut self.headings.iter().copied());
        for row in &shown {
            out += &line(&mut row.iter().map(String::as_str));
        }
        for note in self.notes {
            out += &format!("  {note}\n");
        }
        out + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new("Title", &["what", "ns", "Gbit/s"], &["A note."]);
        table.row(vec!["a".into(), Value::Number(12.345, 1), Value::None]);
        table.row(vec!["longer".into(), Value::Number(1000.0, 1), Value::Number(1.5, 2)]);
        table
    }

    #[test]
    fn text_is_aligned() {
        let expected =
            "Title\n  what        ns  Gbit/s\n  a         12.3       -\n  longer  1000.0    1.50\n  A note.\n\n";
        assert_eq!(table().text(), expected);
    }

    #[test]
    fn json_is_one_object_per_row() {
        let lines: Vec<serde_json::Value> =
            table().json_lines().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0], json!({"table": "Title", "what": "a", "ns": 12.345, "Gbit/s": null}));
        assert_eq!(lines[1]["Gbit/s"], 1.5);
    }
}
