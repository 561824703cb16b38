//! Statements that the servers take, with tables in every place that may hold one.

use tandem_tests::Flavor;
use tandem_tests::mutation::Dice;

pub(crate) struct Grammar {
    dice: Dice,
    flavor: Flavor,
    /// Aliases are never the same twice.
    aliases: usize,
    /// Common table expressions that may be named, each with the columns `a` and `b`.
    expressions: Vec<&'static str>,
}

/// Names that tables have; common table expressions take them too.
const NAMES: [&str; 4] = ["t", "u", "v", "w"];

/// How deep queries stand in queries.
const DEEPEST: usize = 3;

impl Grammar {
    pub(crate) fn new(seed: u64, flavor: Flavor) -> Self {
        Self {
            dice: Dice::new(seed),
            flavor,
            aliases: 0,
            expressions: Vec::new(),
        }
    }

    pub(crate) fn statement(&mut self) -> String {
        self.aliases = 0;
        self.expressions.clear();
        let statement = match self.dice.below(10) {
            0..=4 => self.query(0),
            5 | 6 => self.insert(),
            7 => self.update(),
            8 => self.delete(),
            _ => self.multi_delete(),
        };
        self.dress(&statement)
    }

    fn one(&mut self, of: &[&str]) -> String {
        of[self.dice.below(of.len())].to_owned()
    }

    fn sometimes(&mut self, text: &str) -> String {
        match self.dice.below(4) {
            0 => text.to_owned(),
            _ => String::new(),
        }
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        let name = self.one(&[
            "x", "value", "offset", "`select`", "`from`", "`a b`", "quick", "nowait",
        ]);
        match name.strip_suffix('`') {
            Some(quoted) => format!("{quoted}{}`", self.aliases),
            None => format!("{name}{}", self.aliases),
        }
    }

    /// A table by one of its names.
    fn base(&mut self) -> String {
        match self.dice.below(8) {
            0..=4 => self.one(&NAMES),
            5 => self.one(&["d.t", "s.u", "`d`.`v`", "d . w", "d. `t`", "`s` .u", ".t", "`t`"]),
            6 => self.one(&["`from`", "d.`from`", "d.from", "`a``b`", "1a", "d.1a"]),
            _ => self.one(&["t", "`u`"]),
        }
    }

    /// What can be selected from, under an alias of its own that is given back.
    fn table(&mut self, depth: usize) -> (String, String) {
        let alias = self.alias();
        let alias_as = self.one(&["", "AS "]);
        let text = match self.dice.below(10) {
            0 | 1 if depth < DEEPEST => {
                let query = self.query(depth + 1);
                format!("({query}) {alias_as}{alias}")
            }
            2 | 3 if !self.expressions.is_empty() => {
                let at = self.dice.below(self.expressions.len());
                format!("{} {alias_as}{alias}", self.expressions[at])
            }
            4 => format!(
                "JSON_TABLE('[1,2]', '$[*]' COLUMNS (a FOR ORDINALITY, b INT PATH '$')) {alias_as}{alias}"
            ),
            5 if self.flavor == Flavor::MySql && depth < DEEPEST => {
                let query = self.query(depth + 1);
                format!("LATERAL ({query}) {alias_as}{alias}")
            }
            _ => {
                let base = self.base();
                let partition = self.sometimes(" PARTITION (p0, p1)");
                let hint = self.one(&[
                    "",
                    "",
                    "",
                    " USE INDEX (i, j)",
                    " IGNORE INDEX FOR ORDER BY (i)",
                    " FORCE KEY FOR JOIN (i)",
                    " USE INDEX ()",
                ]);
                format!("{base}{partition} {alias_as}{alias}{hint}")
            }
        };
        (text, alias)
    }

    /// A list of tables, and an alias that has columns `a` and `b`.
    fn tables(&mut self, depth: usize) -> (String, String) {
        let (mut text, alias) = self.table(depth);
        for _ in 0..self.dice.below(3) {
            let (next, other) = self.table(depth);
            let condition = self.condition(depth, &other);
            text = match self.dice.below(8) {
                0 | 1 => format!("{text}, {next}"),
                2 => format!("{text} LEFT JOIN {next} ON {condition}"),
                3 => format!("{text} JOIN {next} ON ({condition})"),
                4 => format!("{text} CROSS JOIN ({next})"),
                5 => format!("({text}) RIGHT OUTER JOIN {next} ON {other}.a = 1 AND {condition}"),
                6 => format!("{text} STRAIGHT_JOIN {next}"),
                _ => format!("{{OJ {text} LEFT OUTER JOIN {next} ON {condition}}}"),
            };
        }
        (text, alias)
    }

    fn value(&mut self, depth: usize, alias: &str) -> String {
        if depth < DEEPEST && self.dice.below(5) == 0 {
            let inner = self.scalar(depth + 1);
            return match self.dice.below(3) {
                0 => format!("IFNULL({inner}, 1)"),
                1 => format!("({inner} + 1)"),
                _ => inner,
            };
        }
        match self.dice.below(8) {
            0 => format!("{alias}.b + INTERVAL 0 DAY IS NULL"),
            1 => "TRIM(BOTH 'x' FROM '1')".to_owned(),
            2 => format!("IF({alias}.a > 1, {alias}.b, 2)"),
            3 => format!("{alias}.a DIV 2"),
            4 => "EXTRACT(YEAR FROM '2020-01-01')".to_owned(),
            5 => format!("CONVERT({alias}.b USING utf8mb4)"),
            6 => format!("REPLACE({alias}.a, ', t', 'FROM u')"),
            _ => format!("{alias}.a"),
        }
    }

    /// A query of one value, in parentheses.
    fn scalar(&mut self, depth: usize) -> String {
        let (tables, alias) = self.tables(depth);
        match self.dice.below(3) {
            0 => format!("(SELECT MAX({alias}.a) FROM {tables})"),
            1 => format!("(SELECT {alias}.a FROM {tables} LIMIT 1)"),
            _ => {
                let query = self.query(depth);
                let outer = self.alias();
                format!("(SELECT COUNT(*) FROM ({query}) {outer})")
            }
        }
    }

    fn condition(&mut self, depth: usize, alias: &str) -> String {
        if depth >= DEEPEST {
            return format!("{alias}.a = 1");
        }
        match self.dice.below(8) {
            0 => {
                let query = self.query(depth + 1);
                format!("EXISTS ({query})")
            }
            1 => {
                let query = self.query(depth + 1);
                format!("({alias}.a, {alias}.b) IN ({query})")
            }
            2 => {
                let scalar = self.scalar(depth + 1);
                format!("{alias}.a NOT IN (1, {scalar}, 3)")
            }
            3 => {
                let (tables, inner) = self.tables(depth + 1);
                format!("{alias}.a >= ALL (SELECT {inner}.b FROM {tables})")
            }
            4 => format!("{alias}.a BETWEEN 1 AND 2 AND NOT {alias}.b <=> 5"),
            5 => format!("{alias}.a REGEXP ', v' XOR {alias}.b LIKE 'FROM w' ESCAPE '!'"),
            _ => {
                let value = self.value(depth, alias);
                format!("{alias}.a = {value}")
            }
        }
    }

    /// `WITH` definitions, which are visible until the caller forgets them.
    fn definitions(&mut self, depth: usize) -> String {
        let mut all = Vec::new();
        let recursive = self.dice.below(3) == 0;
        for _ in 0..1 + self.dice.below(2) {
            let name = NAMES[self.dice.below(NAMES.len())];
            if all.iter().any(|definition: &String| definition.starts_with(name)) {
                continue;
            }
            // Not visible to itself: the same name is the table there.
            let visible = std::mem::take(&mut self.expressions);
            self.expressions = visible.iter().copied().filter(|other| *other != name).collect();
            let query = match recursive {
                true => format!("SELECT 1, 2 UNION SELECT a + 1, 2 FROM {name} WHERE a < 3"),
                false => self.query(depth + 1),
            };
            self.expressions = visible;
            self.expressions.push(name);
            let columns = if recursive { " (a, b)" } else { "" };
            all.push(format!("{name}{columns} AS ({query})"));
        }
        format!(
            "WITH {}{} ",
            if recursive { "RECURSIVE " } else { "" },
            all.join(", ")
        )
    }

    /// A query of the columns `a` and `b`.
    fn query(&mut self, depth: usize) -> String {
        let visible = self.expressions.clone();
        let with = match self.dice.below(5) {
            0 if depth < DEEPEST => self.definitions(depth),
            _ => String::new(),
        };
        let body = match self.dice.below(8) {
            0 if depth < DEEPEST => {
                let one = self.select(depth + 1);
                let other = self.select(depth + 1);
                let word = self.one(&["UNION", "UNION ALL", "EXCEPT", "INTERSECT", "UNION DISTINCT"]);
                let limit = self.one(&["", " ORDER BY a, b", " ORDER BY a LIMIT 5", " LIMIT 1, 2"]);
                match self.dice.below(2) {
                    0 => format!("({one}) {word} ({other}){limit}"),
                    _ => format!("{one} {word} {other}"),
                }
            }
            1 => "SELECT 1 AS a, 2 AS b".to_owned(),
            2 if self.flavor == Flavor::MySql && depth < DEEPEST => {
                let base = self.base();
                // Of four columns: where two are wanted, the server refuses it.
                format!("TABLE {base}")
            }
            _ => {
                let select = self.select(depth);
                let tail = match depth {
                    0 => self.one(&[
                        "",
                        "",
                        "",
                        " FOR UPDATE",
                        " LOCK IN SHARE MODE",
                        " LIMIT 3, 4 FOR UPDATE",
                    ]),
                    _ => String::new(),
                };
                format!("{select}{tail}")
            }
        };
        self.expressions = visible;
        format!("{with}{body}")
    }

    fn select(&mut self, depth: usize) -> String {
        let (tables, alias) = self.tables(depth);
        let options = self.one(&[
            "",
            "",
            "",
            "DISTINCT ",
            "STRAIGHT_JOIN ",
            "SQL_NO_CACHE HIGH_PRIORITY STRAIGHT_JOIN ",
            "SQL_CALC_FOUND_ROWS ",
            "ALL ",
        ]);
        let options = if depth == 0 { options } else { String::new() };
        let (a, b) = (self.value(depth, &alias), self.value(depth, &alias));
        let mut text = format!("SELECT {options}{a} AS a, {b} AS b FROM {tables}");
        if self.dice.below(2) == 0 {
            let condition = self.condition(depth, &alias);
            text = format!("{text} WHERE {condition}");
        }
        if self.dice.below(4) == 0 {
            let value = self.value(depth, &alias);
            text = match self.dice.below(3) {
                0 => format!(
                    "SELECT {options}COUNT(*) AS a, GROUP_CONCAT({alias}.a, {alias}.b ORDER BY 1, {alias}.b \
                     SEPARATOR ', t') AS b FROM {tables} GROUP BY {alias}.a, {alias}.b HAVING COUNT(*) > {value}"
                ),
                1 => format!(
                    "SELECT {options}{alias}.a AS a, SUM(1) AS b FROM {tables} GROUP BY {alias}.a WITH ROLLUP"
                ),
                _ => format!(
                    "SELECT {alias}.a AS a, RANK() OVER (PARTITION BY {alias}.a, {alias}.b ORDER BY {alias}.b) AS b \
                     FROM {tables}"
                ),
            };
        }
        text
    }

    fn insert(&mut self) -> String {
        let verb = self.one(&[
            "INSERT INTO",
            "INSERT",
            "INSERT IGNORE INTO",
            "REPLACE INTO",
            "REPLACE",
            "INSERT LOW_PRIORITY IGNORE",
            "INSERT HIGH_PRIORITY INTO",
        ]);
        let base = self.base();
        let partition = self.sometimes(" PARTITION (p0, p1, p2)");
        let scalar = self.scalar(1);
        let mut text = match self.dice.below(7) {
            0 => format!("{verb} {base}{partition} (a, b) VALUES (90, 1), (91, {scalar})"),
            1 => format!("{verb} {base}{partition} SET a = 92, b = {scalar}"),
            2 => format!("{verb} {base}{partition} VALUES (93, 1, 2, 3)"),
            3 => {
                let query = self.query(1);
                format!("{verb} {base}{partition} (a, b) ({query})")
            }
            4 if self.flavor == Flavor::MySql => {
                let other = self.base();
                format!("{verb} {base} TABLE {other}")
            }
            _ => {
                let query = self.query(1);
                format!("{verb} {base}{partition} (a, b) {query}")
            }
        };
        if verb.starts_with("INSERT") && self.dice.below(3) == 0 {
            let scalar = self.scalar(2);
            text += &match self.dice.below(3) {
                0 => " ON DUPLICATE KEY UPDATE c = VALUES(b), d = 5".to_owned(),
                _ => format!(" ON DUPLICATE KEY UPDATE c = 1, d = {scalar}"),
            };
        } else if self.flavor == Flavor::MariaDb && self.dice.below(4) == 0 {
            let scalar = self.scalar(2);
            text += &format!(" RETURNING a, {scalar}");
        }
        text
    }

    fn with(&mut self) -> String {
        match self.flavor {
            Flavor::MySql if self.dice.below(3) == 0 => self.definitions(1),
            _ => String::new(),
        }
    }

    fn update(&mut self) -> String {
        let with = self.with();
        let (base, alias) = (self.base(), self.alias());
        let value = self.value(1, &alias);
        let condition = self.condition(1, &alias);
        let options = self.one(&["", "", "LOW_PRIORITY ", "IGNORE ", "LOW_PRIORITY IGNORE "]);
        let partition = self.sometimes(" PARTITION (p0)");
        match self.dice.below(4) {
            0 => format!("{with}UPDATE {options}{base} SET a = a, b = 2, c = DEFAULT LIMIT 2"),
            1 => format!(
                "{with}UPDATE {options}{base}{partition} AS {alias} SET {alias}.c = {value}, {alias}.d = 5 \
                 WHERE {condition} ORDER BY {alias}.a, {alias}.b LIMIT 3"
            ),
            2 => {
                let (tables, _) = self.tables(1);
                format!(
                    "{with}UPDATE {options}{base} {alias}, {tables} SET {alias}.c = {value}, {alias}.d = 1"
                )
            }
            _ => {
                let (next, _) = self.table(1);
                format!(
                    "{with}UPDATE {options}{base} {alias} JOIN ({next}) ON {condition} SET {alias}.c = {value}"
                )
            }
        }
    }

    fn delete(&mut self) -> String {
        let with = self.with();
        let base = self.base();
        let options = self.one(&[
            "",
            "",
            "LOW_PRIORITY ",
            "QUICK ",
            "IGNORE ",
            "LOW_PRIORITY QUICK IGNORE ",
        ]);
        let partition = self.sometimes(" PARTITION (p1)");
        let scalar = self.scalar(1);
        let returning = match self.flavor {
            Flavor::MariaDb => self.sometimes(" RETURNING a, b, c"),
            Flavor::MySql => String::new(),
        };
        match self.dice.below(2) {
            0 => format!("{with}DELETE {options}FROM {base}{partition} WHERE a IN (1, {scalar}){returning}"),
            _ => format!("{with}DELETE {options}FROM {base} ORDER BY a, b LIMIT 1{returning}"),
        }
    }

    fn multi_delete(&mut self) -> String {
        let with = self.with();
        let options = self.one(&["", "", "LOW_PRIORITY ", "QUICK ", "IGNORE "]);
        let (one, first) = (self.base(), self.alias());
        let (two, second) = (self.base(), self.alias());
        let condition = self.condition(1, &first);
        let (tables, _) = self.tables(1);
        let star = self.one(&["", ".*"]);
        match self.dice.below(3) {
            0 => format!(
                "{with}DELETE {options}{first}{star}, {second} FROM {one} {first} JOIN {two} AS {second} ON {condition}"
            ),
            1 => format!(
                "{with}DELETE {options}FROM {first}{star}, {second}{star} USING {one} AS {first} \
                 LEFT JOIN {two} {second} ON {condition}, {tables} WHERE {second}.a = 1"
            ),
            _ => format!("{with}DELETE {options}{first} FROM {one} {first}, {tables} WHERE {condition}"),
        }
    }

    /// Other white space, comments that hide something or nothing, other case.
    fn dress(&mut self, statement: &str) -> String {
        let mut out = String::new();
        let mut quote = None;
        for letter in statement.chars() {
            match quote {
                Some(end) if letter == end => quote = None,
                None if matches!(letter, '\'' | '`') => quote = Some(letter),
                _ => {}
            }
            match letter {
                ' ' if quote.is_none() && self.dice.below(6) == 0 => {
                    let blank = self.one(&[
                        "\n",
                        "\t ",
                        "/**/ ",
                        " /* , u */ ",
                        " -- , v\n",
                        " # FROM w\n",
                        " /*!99999 , u */ ",
                        " /*+ x */ ",
                        "  ",
                    ]);
                    out += &blank;
                }
                _ => out.push(letter),
            }
        }
        match self.dice.below(12) {
            // All of it is executed.
            0 if !out.contains("/*") => format!("/*!50000 {out} */"),
            1 => format!("{out} ;"),
            _ => out,
        }
    }
}
