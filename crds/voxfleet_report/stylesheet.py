"""How reports look: on a phone, on a desk, in the dark, and on paper. Pure.

Without quotes, `>` and `&`, which would be escaped.
"""

STYLESHEET = """
:root{color-scheme:light dark;--page:#fff;--text:#1b1f24;--quiet:#57606a;--line:#d0d7de;--tile:#f6f8fa;--good:#116329;
--bad:#a40e26;--productive:#0072b2;--retry:#d55e00;--overhead:#8a6d00;--idle:#8c959f;--orphaned:#a3437d}
@media (prefers-color-scheme:dark){:root{--page:#0d1117;--text:#e6edf3;--quiet:#9da7b3;--line:#3d444d;--tile:#161b22;
--good:#56d364;--bad:#ff8f87;--productive:#58a6ff;--retry:#ff9b50;--overhead:#d9b425;--idle:#7d8590;--orphaned:#e083bb}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:68rem;padding:1rem;background:var(--page);color:var(--text);
font:1rem/1.5 system-ui,-apple-system,Segoe UI,Roboto,sans-serif;overflow-wrap:break-word}
.long,code,h1{overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.25;margin:.5rem 0}
h2{font-size:1.2rem;margin:2rem 0 .5rem;padding-top:.75rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.25rem 0 .25rem}
p{margin:.4rem 0;max-width:46rem}
.quiet{color:var(--quiet)}
.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}
code{font:.875em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{margin:.4rem 0;padding:.6rem .75rem;background:var(--tile);border:1px solid var(--line);border-radius:.4rem;
white-space:pre-wrap}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.5rem;margin:1rem 0;padding:0}
.tiles div{background:var(--tile);border:1px solid var(--line);border-radius:.4rem;padding:.5rem .75rem}
.tiles dt{color:var(--quiet);font-size:.85rem}
.tiles dd{margin:0;font-size:1.25rem;font-variant-numeric:tabular-nums}
table{border-collapse:collapse;margin:.75rem 0;width:100%}
caption{text-align:left;color:var(--quiet);padding-bottom:.25rem}
th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid var(--line)}
thead th{font-size:.85rem;color:var(--quiet);vertical-align:bottom}
tbody th{font-weight:400}
tfoot th,tfoot td{font-weight:600}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(19rem,100%),1fr));gap:1rem}
figure{margin:.5rem 0}
figcaption{font-size:.9rem;font-weight:600}
svg{display:block;width:100%;max-width:34rem;height:auto}
svg text{fill:var(--text);font:11px system-ui,-apple-system,Segoe UI,Roboto,sans-serif}
svg .quiet{fill:var(--quiet)}
.axis{stroke:var(--line);stroke-width:1}
.mark{stroke:var(--text);stroke-width:1;stroke-dasharray:3 2}
.series{fill:none;stroke:var(--productive);stroke-width:2}
.point{fill:var(--productive)}.chosen{fill:none;stroke:var(--text);stroke-width:1.5}
.productive{fill:var(--productive)}.retry{fill:var(--retry)}.overhead{fill:var(--overhead)}.idle{fill:var(--idle)}
.orphaned{fill:var(--orphaned)}
.key{display:flex;flex-wrap:wrap;gap:.25rem 1rem;list-style:none;margin:.25rem 0;padding:0;font-size:.9rem}
.key svg{display:inline-block;width:.8rem;height:.8rem;margin-right:.35rem;vertical-align:-.05rem}
@media (max-width:52rem){
table,thead,tbody,tfoot,tr,th,td,caption{display:block}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
tr{border-bottom:1px solid var(--line);padding:.4rem 0}
th,td{border:0;padding:.1rem 0}
td,tbody th,tfoot th{display:flex;justify-content:space-between;gap:1rem;white-space:normal;text-align:right}
td[data-label]::before,th[data-label]::before{content:attr(data-label);color:var(--quiet);font-weight:400;text-align:left;
flex:none;max-width:55%}
td.long,th.long{display:block;text-align:left}td.long::before{display:block}
tbody th{font-weight:600}
}
@media print{
:root{color-scheme:light;--page:#fff;--text:#000;--quiet:#333;--line:#999;--tile:#fff;--good:#0b4a1f;--bad:#8a0a1d;
--productive:#0072b2;--retry:#d55e00;--overhead:#8a6d00;--idle:#8c959f;--orphaned:#a3437d}
body{max-width:none;padding:0;font-size:10pt}
h2,h3,caption{break-after:avoid}
tr,figure,.tiles div{break-inside:avoid}
thead{display:table-header-group}
svg *{print-color-adjust:exact;-webkit-print-color-adjust:exact}
}
"""
