//! tantivy on the judged set, one line of JSON for each way of asking it: `{"engine", "ndcg"}`.

use std::collections::HashMap;
use std::error::Error;

use serde_json::{Value, json};
use tantivy::collector::TopDocs;
use tantivy::query::QueryParser;
use tantivy::schema::{Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions, Value as _, STORED, STRING};
use tantivy::tokenizer::{AsciiFoldingFilter, Language, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer, TextAnalyzer};
use tantivy::{Index, TantivyDocument};

const FIELDS: [&str; 8] =
    ["name", "fromName", "fromEmail", "toName", "toEmail", "messageText", "groupName", "attachments"];

fn main() -> Result<(), Box<dyn Error>> {
    let judged = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/search/judged/");
    let records = std::fs::read_to_string(format!("{judged}records.jsonl"))?;
    let queries: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(format!("{judged}queries.json"))?)?;
    for (engine, tokenizer, boosted) in [
        ("tantivy, default tokenizer", "default", false),
        ("tantivy, English stemming and folding", "folded_en_stem", false),
        ("tantivy, English stemming and folding, with boosts", "folded_en_stem", true),
    ] {
        let ndcg = measure(&records, &queries, tokenizer, boosted)?;
        println!("{}", json!({ "engine": engine, "ndcg": (ndcg * 1e4).round() / 1e4 }));
    }
    Ok(())
}

fn measure(records: &str, queries: &[Value], tokenizer: &str, boosted: bool) -> Result<f64, Box<dyn Error>> {
    let mut schema = Schema::builder();
    let id = schema.add_text_field("_id", STRING | STORED);
    let indexing = TextFieldIndexing::default()
        .set_tokenizer(tokenizer)
        .set_index_option(IndexRecordOption::WithFreqsAndPositions);
    let options = TextOptions::default().set_indexing_options(indexing);
    let fields: Vec<Field> = FIELDS.iter().map(|name| schema.add_text_field(name, options.clone())).collect();
    let index = Index::create_in_ram(schema.build());
    let folded = TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(40))
        .filter(LowerCaser)
        .filter(AsciiFoldingFilter)
        .filter(Stemmer::new(Language::English))
        .build();
    index.tokenizers().register("folded_en_stem", folded);
    let mut writer = index.writer_with_num_threads::<TantivyDocument>(1, 20_000_000)?;
    for line in records.lines() {
        let record: Value = serde_json::from_str(line)?;
        let mut document = TantivyDocument::default();
        document.add_text(id, record["_id"].as_str().unwrap_or_default());
        for (name, field) in FIELDS.iter().zip(&fields) {
            if let Some(text) = record[*name].as_str() {
                document.add_text(*field, text);
            }
            for file in record[*name].as_array().into_iter().flatten() {
                for part in ["filename", "textContent"] {
                    document.add_text(*field, file[part].as_str().unwrap_or_default());
                }
            }
        }
        writer.add_document(document)?;
    }
    writer.commit()?;
    let searcher = index.reader()?.searcher();
    let mut parser = QueryParser::for_index(&index, fields.clone());
    if boosted {
        parser.set_field_boost(fields[0], 2.0);
        parser.set_field_boost(fields[1], 1.5);
    }
    let mut sum = 0.0;
    for query in queries {
        let grades: HashMap<String, u32> = serde_json::from_value(query["grades"].clone())?;
        let (parsed, _) = parser.parse_query_lenient(query["query"].as_str().unwrap_or_default());
        let found: Vec<u32> = searcher
            .search(&parsed, &TopDocs::with_limit(10))?
            .into_iter()
            .map(|(_, address)| {
                let document: TantivyDocument = searcher.doc(address)?;
                let name = document.get_first(id).and_then(|value| value.as_str()).unwrap_or_default();
                Ok(grades.get(name).copied().unwrap_or(0))
            })
            .collect::<tantivy::Result<_>>()?;
        let mut ideal: Vec<u32> = grades.into_values().collect();
        ideal.sort_unstable_by(|one, other| other.cmp(one));
        ideal.truncate(10);
        sum += gain(&found) / gain(&ideal);
    }
    Ok(sum / queries.len() as f64)
}

fn gain(grades: &[u32]) -> f64 {
    let of = |(place, grade): (usize, &u32)| f64::from((1_u32 << grade) - 1) / (place as f64 + 2.0).log2();
    grades.iter().enumerate().map(of).sum()
}
