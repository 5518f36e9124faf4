//! The part of a list's statement that chooses rows: shared by the lists of keys and of data keys.

use super::keys::all;
use super::rows::{self, bound, sql_id};
use super::search::{self, Rows};
use crate::error::Result;
use crate::model::{Page, Role, Scope};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, Statement, params, params_from_iter};

/// A table that is listed. Its columns `account`, `region`, `product`, `create_time`, id and name are in both indexes,
/// beside all that is filtered by.
pub(super) struct Table {
    /// Its name.
    pub name: &'static str,
    /// What its rows are called in statements.
    pub row: &'static str,
    /// Column of the id.
    pub id: &'static str,
    /// Column of the name that is searched.
    pub text: &'static str,
    /// The index that is ordered as descending lists are, and the one for ascending lists.
    pub indexes: [&'static str; 2],
    /// Table of the tags, and its column that names the row.
    pub tags: [&'static str; 2],
}

impl Table {
    /// How many rows of a scope count against a quota: the account's own, but those in PendingDelete. The conditions repeat
    /// those of the index word for word.
    pub(super) fn count_own(&self, conn: &Connection, scope: &Scope) -> Result<u64> {
        self.count_counted(conn, scope, u64::MAX)
    }

    /// True when [`Table::count_own`] would be less than `quota`. The cost is bounded by the quota.
    pub(super) fn fewer_own(&self, conn: &Connection, scope: &Scope, quota: u64) -> Result<bool> {
        Ok(self.count_counted(conn, scope, quota)? < quota)
    }

    fn count_counted(&self, conn: &Connection, scope: &Scope, at_most: u64) -> Result<u64> {
        let name = self.name;
        let sql = format!(
            "SELECT count(*) FROM (SELECT 1 FROM {name} INDEXED BY {name}_counted \
             WHERE account = ?1 AND region = ?2 AND product = 0 AND state <> 3 LIMIT ?3)"
        );
        let values = params![sql_id(scope.account().0), scope.region().as_str(), bound(at_most)];
        Ok(conn.prepare_cached(&sql)?.query_row(values, |r| rows::count(r, 0))?)
    }
}

/// `FROM … WHERE …` of a query, with its values. Every value is a parameter.
///
/// The parameters begin with account and region of each scope. In the text these two are called `?account` and `?region`
/// until it is written out for one of the scopes; no text of a caller is ever part of it.
pub(super) struct Filter {
    table: &'static Table,
    scopes: usize,
    ascending: bool,
    /// Whether it takes more than a look at numbers in the index to judge a row.
    is_costly: bool,
    /// `FROM … WHERE …`.
    sql: String,
    values: Vec<Value>,
}

impl Filter {
    /// The rows of some scopes.
    pub(super) fn new(table: &'static Table, scopes: &[Scope], role: Role, ascending: bool) -> Self {
        let (index, name, row) = (table.indexes[usize::from(ascending)], table.name, table.row);
        let sql =
            format!("FROM {name} {row} INDEXED BY {index} WHERE {row}.account = ?account AND {row}.region = ?region");
        let values = |s: &Scope| [sql_id(s.account().0).into(), s.region().as_str().to_owned().into()];
        let values = scopes.iter().flat_map(values).collect();
        let mut f = Filter { table, scopes: scopes.len(), ascending, is_costly: false, sql, values };
        // Written out, not a parameter: two statements, each with a plan of its own.
        let role = match role {
            Role::Own => "product = 0",
            Role::Product => "product = 1",
        };
        f.sql.push_str(&format!(" AND {}", f.column(role)));
        f
    }

    fn column(&self, text: &str) -> String {
        format!("{}.{text}", self.table.row)
    }

    /// The column has one of the codes; none = any.
    pub(super) fn codes(&mut self, column: &str, codes: impl Iterator<Item = u8>) {
        let mut codes = codes.peekable();
        if codes.peek().is_some() {
            let sql = format!(" AND {} IN (", self.column(column));
            self.among(&sql, codes.map(|code| i64::from(code).into()));
        }
    }

    /// The column has this value, if there is one.
    pub(super) fn equal(&mut self, column: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            let sql = format!(" AND {} = ", self.column(column));
            self.put(&sql, value);
        }
    }

    /// The text is part of the name or of the written id. `instr` compares bytes, so nothing in the text is a wildcard
    /// and case counts.
    pub(super) fn search(&mut self, text: Option<&str>) {
        let Some(text) = text.filter(|t| !t.is_empty()) else { return };
        self.is_costly = true;
        let id = self.column(self.table.id);
        self.put(&format!(" AND (instr({}, ", self.column(self.table.text)), text.to_owned());
        self.sql.push(')');
        // Most texts cannot be part of an id: they cost nothing more.
        let places = search::places(text);
        if !places.is_empty() {
            self.sql.push_str(" OR (");
            for (i, hint) in search::hints(&places).into_iter().enumerate() {
                self.put(&format!("{}instr({id}, ", if i == 0 { "(" } else { ") OR " }), hint);
            }
            if self.sql.ends_with(|c: char| c.is_ascii_digit()) {
                self.sql.push_str(")) AND ");
            }
            self.put(&format!("id_matches({id}, "), places);
            self.sql.push_str("))");
        }
        self.sql.push(')');
    }

    /// All of the tag keys are there, each with any of its values; no value = any.
    ///
    /// What has them is read from the index of tags first, and the rows are then looked for in that set: a look-up of its
    /// tags for each of 100,000 rows takes three times as long as all the rest. To be called within a transaction: tags and
    /// rows are to be of the same moment.
    pub(super) fn tags(&mut self, conn: &Connection, scopes: &[Scope], tags: &[(String, Vec<String>)]) -> Result<()> {
        let mut accounts: Vec<i64> = scopes.iter().map(|s| sql_id(s.account().0)).collect();
        accounts.sort_unstable();
        accounts.dedup();
        let mut found: Option<Rows> = None;
        for tag in tags {
            let ids = self.tagged(conn, &accounts, tag)?;
            match &mut found {
                None => found = Some(Rows::of(&ids)),
                Some(rows) => rows.retain(&ids),
            }
            if found.as_ref().is_some_and(Rows::is_empty) {
                break;
            }
        }
        if let Some(rows) = found {
            self.is_costly = true;
            let sql = format!(" AND in_rows({}, ", self.column("id"));
            self.put(&sql, rows.into_bytes());
            self.sql.push(')');
        }
        Ok(())
    }

    /// Numbers of the rows of some accounts, in whatever region, that have a tag.
    fn tagged(&self, conn: &Connection, accounts: &[i64], (key, values): &(String, Vec<String>)) -> Result<Vec<i64>> {
        let [table, owner] = self.table.tags;
        let mut sql = format!("SELECT {owner} FROM {table} INDEXED BY {table}_pair WHERE account = ?1 AND key = ?2");
        if !values.is_empty() {
            let places: Vec<String> = (3..3 + values.len()).map(|n| format!("?{n}")).collect();
            sql.push_str(&format!(" AND value IN ({})", places.join(", ")));
        }
        let mut statement = conn.prepare_cached(&sql)?;
        let mut ids = Vec::new();
        for account in accounts {
            let tag = std::iter::once(key).chain(values).map(|text| Value::Text(text.clone()));
            let parameters: Vec<Value> = std::iter::once(Value::Integer(*account)).chain(tag).collect();
            let mut rows = statement.query(params_from_iter(parameters))?;
            while let Some(row) = rows.next()? {
                ids.push(row.get(0)?);
            }
        }
        Ok(ids)
    }

    /// The column is what a query finds: it ends before its own parameter; `?account` and `?region` are those of the row.
    pub(super) fn found(&mut self, column: &str, query: &str, value: impl Into<Value>) {
        let sql = format!(" AND {} = ({query}", self.column(column));
        self.put(&sql, value);
        self.sql.push(')');
    }

    fn put(&mut self, sql: &str, value: impl Into<Value>) {
        let parameter = self.parameter(value);
        self.sql.push_str(sql);
        self.sql.push_str(&parameter);
    }

    fn parameter(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("?{}", self.values.len())
    }

    fn among(&mut self, sql: &str, values: impl Iterator<Item = Value>) {
        self.sql.push_str(sql);
        for (i, value) in values.enumerate() {
            self.put(if i == 0 { "" } else { ", " }, value);
        }
        self.sql.push(')');
    }

    /// The text for each of the scopes.
    fn each(&self) -> impl Iterator<Item = String> {
        (0..self.scopes).map(|n| {
            let named = |name: &str, at: usize, sql: &str| sql.replace(name, &format!("?{}", 2 * n + at));
            named("?region", 2, &named("?account", 1, &self.sql))
        })
    }

    /// A statement for one column of the rows, in their order.
    ///
    /// Rows of several scopes come by a compound select: SQLite merges its parts, each in the order of the index, so that
    /// skipping to an offset sorts nothing there either.
    fn select(&self, column: &str) -> String {
        let (id, direction) = (self.table.id, if self.ascending { "" } else { " DESC" });
        let (column, time, id) = (self.column(column), self.column("create_time"), self.column(id));
        if self.scopes == 1 {
            let sql: String = self.each().collect();
            return format!("SELECT {column} {sql} ORDER BY {time}{direction}, {id}");
        }
        let parts: Vec<String> = self.each().map(|sql| format!("SELECT {column}, {time}, {id} {sql}")).collect();
        format!("{} ORDER BY 2{direction}, 3", parts.join(" UNION ALL "))
    }

    /// A statement for one column of the rows of a page: the last two parameters are limit and offset.
    pub(super) fn select_page(&self, column: &str) -> String {
        let (limit, offset) = (self.values.len() + 1, self.values.len() + 2);
        format!("{} LIMIT ?{limit} OFFSET ?{offset}", self.select(column))
    }

    /// A statement that counts the rows of all pages.
    fn count(&self) -> String {
        let parts: Vec<String> = self.each().map(|sql| format!("(SELECT count(*) {sql})")).collect();
        format!("SELECT {}", parts.join(" + "))
    }

    /// Counts the rows and reads one column of those of a page. To be called within a transaction: the rows are to be of
    /// the same moment.
    pub(super) fn page<T>(
        mut self,
        conn: &Connection,
        column: &str,
        [offset, limit]: [u64; 2],
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Page<T>> {
        if self.scopes == 0 {
            return Ok(Page { total: 0, items: Vec::new() });
        }
        if self.is_costly {
            return self.walk(conn, column, [offset, limit], read);
        }
        let total =
            conn.prepare_cached(&self.count())?.query_row(params_from_iter(&self.values), |r| rows::count(r, 0))?;
        if limit == 0 || offset >= total {
            return Ok(Page { total, items: Vec::new() });
        }
        let sql = self.select_page(column);
        self.values.extend([Value::Integer(bound(limit)), Value::Integer(bound(offset))]);
        Ok(Page { total, items: all(conn, &sql, params_from_iter(&self.values), read)? })
    }

    /// The same in one pass: where a row is costly to judge, to judge each once for the total and once more on the way to
    /// the offset takes twice as long. Handing the rows that match over one by one costs less than that.
    fn walk<T>(
        self,
        conn: &Connection,
        column: &str,
        [offset, limit]: [u64; 2],
        mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Page<T>> {
        let sql = self.select(column);
        // A statement over many accounts with many tags can take a megabyte, and hardly comes twice: it is not kept.
        let (mut kept, mut once);
        let statement: &mut Statement<'_> = if self.scopes == 1 {
            kept = conn.prepare_cached(&sql)?;
            &mut kept
        } else {
            once = conn.prepare(&sql)?;
            &mut once
        };
        let mut rows = statement.query(params_from_iter(&self.values))?;
        let mut page = Page { total: 0, items: Vec::new() };
        while let Some(row) = rows.next()? {
            if page.total >= offset && page.total - offset < limit {
                page.items.push(read(row)?);
            }
            page.total += 1;
        }
        Ok(page)
    }
}
