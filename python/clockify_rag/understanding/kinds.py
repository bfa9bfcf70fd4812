"""What a question wants, by rules that can be read: the classifier ``rules``.

For each language there is one pattern a kind, looked for in the order of ``ORDER``; the first that is found is the kind. Patterns
that say how a question begins are anchored there, those that name what it is about are not. Rules rather than a model: a wrong
kind costs an answer that is formed a little worse, and whoever wonders why can see the pattern. Words that ask nothing are a
``topic``; so is a question in a language that has no rules here, unless it ends in a question mark.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from clockify_rag.contracts import QuestionKind

ORDER: Final[tuple[QuestionKind, ...]] = (
    "comparison",
    "how-to",
    "limits",
    "troubleshooting",
    "definition",
    "yes-no",
    "fact",
)
"""Which pattern is tried before which. Who asks for steps wants steps, also against an error."""

ANCHORED: Final = frozenset({"how-to", "definition", "yes-no", "fact"})
"""The kinds that are told by how a question begins."""

_AFTER_LEAD: Final = r"(?:^|[,;:]\s)[^\w]*"
"""Where a question begins that may have something before it which leads up to it."""

_AT_START: Final = r"(?:^|[;:]\s)[^\w]*"

_BETWEEN: Final = re.compile(r"(?<=[.!?\uff1f\u061f\u3002])\s+")
"""Where a sentence ends, also one after which somebody goes on in lower case."""

_ENDS: Final = ("?", "\uff1f", "\u061f")
"""Question marks."""

_SHORT = r"(?:\s+[\w'’./&-]+){1,5}\s*[?.!]*$"

RULES: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {
        "comparison": r"difference|differs?\b|compar(?:e|ed|ison)\b|versus\b|\bvs\b|\b(?:better|cheaper|worse) than\b",
        "how-to": r"(?:please\s+)?(?:how\s+(?:do|can|to|should|could|would|does|might|must)\b|(?:what\s+are\s+)?(?:the\s+)?steps\b"
        r"|(?:what\s+is\s+the\s+)?(?:best\s+)?way\s+to\b|where\s+(?:do|can|should)\s+(?:i|we|you)\b|(?:i|we)\s+(?:want|need)\s+to\b)",
        "limits": r"\bhow\s+(?:many|much|long|often|large|big|far)\b|\b(?:limits?|limited|maximum|minimum|quota|permissions?|allowed"
        r"|permitted)\b|\bwho\s+(?:can|may|is\s+able)\b",
        "troubleshooting": r"^\s*why\b|\b(?:errors?|fail(?:s|ed|ing|ure)?|problems?|issues?|bugs?|crash(?:es|ed|ing)?|broken|stuck"
        r"|missing|gone|wrong|disappear(?:s|ed)?|vanish(?:es|ed)?|unable|no\s+longer|stopped)\b|n['’]t\b|\b(?:cannot|can\s+not"
        r"|(?:does|do|is|did|will)\s+not)\b",
        "definition": rf"(?:what(?:['’]s|\s+(?:is|are))(?:\s+(?:a|an|the)\b)?{_SHORT}|what\s+does\s+.{{1,60}}\s+mean|meaning\s+of\b"
        r"|defin(?:e|ition\s+of)\b)",
        "yes-no": r"(?:is|are|was|were|am|does|do|did|can|could|will|would|should|may|has|have)\b",
        "fact": r"(?:what|which|when|who|whom|whose|why|where|how)\b",
    },
    "de": {
        "comparison": r"unterschied|unterscheide[nt]|vergleich|gegenüber\b|\bvs\b|\b(?:besser|günstiger) als\b",
        "how-to": r"wie\s+(?!viele?\b|lange?\b|oft\b|hoch\b|groß\b|heißt\b)|wo\s+(?:kann|stelle|finde|lege)\s+(?:ich|man|wir)\b"
        r"|(?:ich|wir)\s+(?:möchte|muss|will|wollen|möchten)\b",
        "limits": r"\bwie\s+(?:viele?|lange?|oft|hoch|groß)\b|\b(?:höchstens|maximal|maximum|grenzen?|limits?|berechtigung(?:en)?|erlaubt"
        r"|rechte)\b|\bwer\s+(?:darf|kann)\b|\bdarf\b",
        "troubleshooting": r"^\s*(?:warum|weshalb|wieso)\b|\b(?:fehler\w*|problem\w*|störung|kaputt|hängt|fehlt|fehlen|verschwunden"
        r"|funktioniert|abgestürzt|falsch|gesperrt)\b|\b(?:geht|kann|lässt|kommt)\b.{0,60}\b(?:nicht|kein\w*)\b",
        "definition": rf"was\s+(?:ist|sind|bedeutet|heißt)(?:\s+(?:ein|eine|der|die|das)\b)?{_SHORT}|was\s+versteht\s+man\b",
        "yes-no": r"(?:ist|sind|kann|können|darf|dürfen|gibt|hat|haben|muss|müssen|soll|sollte|wird|werden|geht)\b",
        "fact": r"(?:was|wann|wer|wem|wen|wessen|welche[rsnm]?|warum|wo|woher|wohin|wie|in\s+welche[nmr]?)\b",
    },
    "fr": {
        "comparison": r"différence|diffèrent?\b|compar(?:er|aison)|\bversus\b|\bvs\b",
        "how-to": r"comment\b|où\s+(?:puis-je|peut-on|dois-je)\b|je\s+(?:veux|voudrais|dois)\b",
        "limits": r"\bcombien\b|\b(?:limites?|maximum|minimum|quota|autorisé(?:e|s|es)?|permissions?|droits)\b|\bqui\s+peut\b",
        "troubleshooting": r"^\s*pourquoi\b|\b(?:erreurs?|problèmes?|échou\w+|panne|bloqué\w*|manque|disparu\w*|impossible)\b"
        r"|\bne\b.{1,40}\b(?:pas|plus)\b|\bn['’]\w+.{0,40}\b(?:pas|plus)\b",
        "definition": r"qu['’]est-ce\s+qu['’e]|(?:c['’]est\s+quoi|que\s+signifie|définition)\b",
        "yes-no": r"(?:est-ce\s+qu|peut-on|puis-je|est-il|y\s+a-t-il|faut-il|dois-je|existe-t-il)",
        "fact": r"(?:que|quoi|quel(?:le)?s?|quand|qui|pourquoi|où|à\s+quel|dans\s+quel)\b",
    },
    "es": {
        "comparison": r"diferencia|comparar|comparación|\bvs\b|\bmejor que\b",
        "how-to": r"[¿\s]*(?:c[oó]mo\b|dónde\s+(?:puedo|se\s+puede)\b|(?:quiero|necesito)\b)",
        "limits": r"\bcu[aá]nt[oa]s?\b|\b(?:límites?|máximo|mínimo|cuota|permisos?|permitido)\b|\bquién(?:es)?\s+puede",
        "troubleshooting": r"^[¿\s]*por\s+qué\b|\b(?:error(?:es)?|problemas?|falla\w*|bloquead\w+|desaparec\w+|no\s+(?:funciona|puedo|aparece"
        r"|me\s+deja))\b",
        "definition": r"[¿\s]*qué\s+(?:es|son|significa)\b",
        "yes-no": r"[¿\s]*(?:es|son|está|hay|puedo|se\s+puede|puede|pueden|tiene|existe|debo)\b",
        "fact": r"[¿\s]*(?:qué|cuál(?:es)?|cuándo|quién(?:es)?|dónde|por\s+qué|en\s+qué)\b",
    },
    "it": {
        "comparison": r"differenza|confront[oa]|\bvs\b|\bmeglio di\b",
        "how-to": r"come\s+(?!mai\b)|dove\s+(?:posso|si\s+può)\b|(?:voglio|vorrei|devo)\b",
        "limits": r"\bquant[oaie]\b|\b(?:limit[ei]|massimo|minimo|permess[oi]|consentit[oa])\b|\bchi\s+può\b",
        "troubleshooting": r"^\s*(?:perché|come\s+mai)\b|\b(?:error[ei]|problem[ai]|bloccat[oa]|sparit[oaie]|manca|non\s+(?:funziona|riesco"
        r"|posso|vedo))\b",
        "definition": r"(?:che\s+cos|cos)['’]?\s*[èe]\b|cosa\s+(?:è|sono|significa)\b",
        "yes-no": r"(?:è|sono|posso|si\s+può|può|c['’]è|ci\s+sono|ha|esiste|devo)\b",
        "fact": r"(?:che|cosa|qual[ei]?|quando|chi|dove|perché|in\s+quale)\b",
    },
    "pt": {
        "comparison": r"diferença|comparar|comparação|\bvs\b|\bmelhor (?:do )?que\b",
        "how-to": r"como\b|onde\s+(?:posso|se\s+pode)\b|(?:quero|preciso)\b",
        "limits": r"\bquant[oa]s?\b|\b(?:limites?|máximo|mínimo|permissões|permissão|permitido)\b|\bquem\s+pode\b",
        "troubleshooting": r"^\s*por\s*qu[eê]\b|\b(?:erros?|problemas?|falh\w+|bloquead\w+|desaparec\w+|sumiu|não\s+(?:funciona|consigo|aparece"
        r"|posso))\b",
        "definition": r"(?:o\s+)?que\s+(?:é|são|significa)\b",
        "yes-no": r"(?:é|são|posso|pode|podem|há|tem|existe|devo)\b",
        "fact": r"(?:(?:o\s+)?qu[eê]|qual|quais|quando|quem|onde|em\s+que)\b",
    },
    "nl": {
        "comparison": r"verschil|vergelijk|\bvs\b|\bbeter dan\b",
        "how-to": r"hoe\s+(?!veel\b|lang\b|vaak\b|groot\b)|waar\s+(?:kan|moet)\s+(?:ik|je|men)\b|ik\s+(?:wil|moet)\b",
        "limits": r"\bhoe(?:\s+(?:lang|vaak|groot)|veel)\b|\b(?:limiet\w*|maximum|maximaal|minimum|rechten|toegestaan)\b|\bwie\s+(?:mag|kan)\b",
        "troubleshooting": r"^\s*waarom\b|\b(?:fout\w*|probleem|problemen|storing|kapot|ontbreekt|verdwenen|geblokkeerd|werkt)\b.{0,40}"
        r"|\b(?:kan|lukt|gaat)\b.{0,40}\bniet\b",
        "definition": r"wat\s+(?:is|zijn|betekent)\b",
        "yes-no": r"(?:is|zijn|kan|kunnen|mag|heeft|hebben|moet|bestaat|wordt)\b",
        "fact": r"(?:wat|wie|wanneer|welke?|waarom|waar|hoe|in\s+welke?)\b",
    },
    "pl": {
        "comparison": r"różnic|porównan|\bvs\b",
        "how-to": r"jak\s+(?!długo\b|często\b|duż)|gdzie\s+(?:mogę|można)\b|(?:chcę|muszę)\b",
        "limits": r"\bile\b|\bjak\s+(?:długo|często)\b|\b(?:limit\w*|maksymaln\w+|uprawnieni\w+)\b|\bkto\s+może\b",
        "troubleshooting": r"^\s*dlaczego\b|\b(?:błąd|błęd\w+|problem\w*|awari\w+|zniknę\w+|nie\s+(?:działa|mogę|widzę|da))\b",
        "definition": r"(?:co\s+to\s+(?:jest|są)|czym\s+(?:jest|są)|co\s+oznacza)\b",
        "yes-no": r"czy\b",
        "fact": r"(?:co|kto|kiedy|któr\w+|jaki\w*|jaka|jakie|gdzie|dlaczego|w\s+jak\w+)\b",
    },
    "cs": {
        "comparison": r"rozdíl|porovnán|\bvs\b",
        "how-to": r"jak\s+(?!dlouho\b|často\b)|kde\s+(?:mohu|můžu|lze)\b|(?:chci|potřebuji)\b",
        "limits": r"\bkolik\b|\bjak\s+(?:dlouho|často)\b|\b(?:limit\w*|maxim\w+|oprávnění)\b|\bkdo\s+(?:může|smí)\b",
        "troubleshooting": r"^\s*proč\b|\b(?:chyb\w+|problém\w*|nefunguje|nejde|nemohu|nemůžu|zmizel\w*)\b",
        "definition": r"(?:co\s+je|co\s+znamená)\b",
        "yes-no": r"(?:je|jsou|mohu|můžu|lze|má|existuje|dá\s+se)\b",
        "fact": r"(?:co|kdo|kdy|kter\w+|kde|proč)\b",
    },
    "sv": {
        "comparison": r"skillnad|jämför|\bvs\b|\bbättre än\b",
        "how-to": r"hur\s+(?!många\b|mycket\b|länge\b|ofta\b)|var\s+kan\s+(?:jag|man)\b|jag\s+(?:vill|måste)\b",
        "limits": r"\bhur\s+(?:många|mycket|länge|ofta)\b|\b(?:gräns\w*|högst|maximalt|behörighet\w*|tillåt\w+)\b|\bvem\s+(?:kan|får)\b",
        "troubleshooting": r"^\s*varför\b|\b(?:fel|felmeddelande\w*|problem\w*|saknas|försvunn\w+|fungerar|kan\s+inte|går\s+inte)\b",
        "definition": r"vad\s+(?:är|betyder)\b",
        "yes-no": r"(?:är|kan|får|finns|har|måste|ska|går)\b",
        "fact": r"(?:vad|vem|vilke[nt]|vilka|när|var|varför|hur|i\s+vilk\w+)\b",
    },
    "da": {
        "comparison": r"forskel|sammenlign|\bvs\b|\bbedre end\b",
        "how-to": r"hvordan\b|hvor\s+kan\s+(?:jeg|man)\b|jeg\s+(?:vil|skal)\b",
        "limits": r"\bhvor\s+(?:mange|meget|længe|ofte)\b|\b(?:grænse\w*|højst|maksimalt|rettighed\w*|tilladt)\b|\bhvem\s+(?:kan|må)\b",
        "troubleshooting": r"^\s*hvorfor\b|\b(?:fejl\w*|problem\w*|mangler|forsvundet|virker|kan\s+ikke)\b",
        "definition": r"hvad\s+(?:er|betyder)\b",
        "yes-no": r"(?:er|kan|må|findes|har|skal|vil)\b",
        "fact": r"(?:hvad|hvem|hvilke[nt]?|hvornår|hvor|hvorfor|i\s+hvilk\w+)\b",
    },
    "no": {
        "comparison": r"forskjell|sammenlign|\bvs\b|\bbedre enn\b",
        "how-to": r"(?:hvordan|korleis)\b|hvor\s+kan\s+(?:jeg|man)\b|jeg\s+(?:vil|må)\b",
        "limits": r"\bhvor\s+(?:mange|mye|lenge|ofte)\b|\b(?:grense\w*|høyst|maksimalt|tillatelse\w*|tillatt)\b|\bhvem\s+(?:kan|får)\b",
        "troubleshooting": r"^\s*hvorfor\b|\b(?:feil\w*|problem\w*|mangler|forsvunnet|virker|fungerer|kan\s+ikke)\b",
        "definition": r"hva\s+(?:er|betyr)\b",
        "yes-no": r"(?:er|kan|får|finnes|har|må|skal|vil)\b",
        "fact": r"(?:hva|hvem|hvilke[nt]?|når|hvor|hvorfor|i\s+hvilk\w+)\b",
    },
    "fi": {
        "comparison": r"\bero(?:a|t|avat|avatko)?\b|vertail|\bparempi kuin\b",
        "how-to": r"(?:miten|kuinka)\s+(?!monta\b|paljon\b|kauan\b|usein\b)|missä\s+voin\b|(?:haluan|minun\s+täytyy)\b",
        "limits": r"\b(?:kuinka|miten)\s+(?:monta|paljon|kauan|usein)\b|\b(?:raja\w*|enintään|oikeu\w+|sallit\w+)\b|\bkuka\s+voi\b",
        "troubleshooting": r"^\s*miksi\b|\b(?:virhe\w*|ongelma\w*|ei\s+(?:toimi|näy|onnistu)|en\s+(?:voi|pysty)|kado\w+|puuttuu)\b",
        "definition": r"(?:mikä|mitä)\s+(?:on|ovat|tarkoittaa)\b",
        "yes-no": r"(?:onko|ovatko|voiko|voinko|voivatko|saako|pitääkö|tuleeko|\w+(?:ko|kö))\b",
        "fact": r"(?:mikä|mitä|kuka|ketkä|milloin|missä|mihin|mistä|miksi|millä)\b",
    },
    "hu": {
        "comparison": r"különbség|összehasonlít|\bjobb mint\b",
        "how-to": r"hogyan\b|hogy\s+tud(?:ok|om)\b|hol\s+(?:tudok|lehet)\b|szeretn\w+\b",
        "limits": r"\b(?:hány|mennyi|meddig)\b|\b(?:korlát\w*|legfeljebb|maxim\w+|jogosultság\w*)\b|\bki\s+(?:tud|lehet)\b",
        "troubleshooting": r"^\s*miért\b|\b(?:hib\w+|problém\w+|nem\s+(?:működik|tudok|tudom|látom|jelenik)|eltűnt)\b",
        "definition": r"(?:mi\s+(?:az|a)\b|mit\s+jelent\b)",
        "yes-no": r"(?:van|lehet|tudok|kell|szabad|létezik)\b",
        "fact": r"(?:mi|mit|ki|mikor|melyik|hol|miért|milyen)\b",
    },
    "ro": {
        "comparison": r"diferenț|diferenţ|compara|\bmai bun decât\b",
        "how-to": r"cum\b|unde\s+(?:pot|se\s+poate)\b|(?:vreau|trebuie)\s+să\b",
        "limits": r"\bc[aâ]t(?:e|ă|i)?\b|\b(?:limit\w+|maxim\w*|permisiun\w+|permis)\b|\bcine\s+poate\b",
        "troubleshooting": r"^\s*de\s+ce\b|\b(?:ero\w+|problem\w+|nu\s+(?:funcționează|merge|pot|apare)|dispăr\w+)\b",
        "definition": r"ce\s+(?:este|e|sunt|înseamnă)\b",
        "yes-no": r"(?:este|sunt|pot|poate|există|are|trebuie)\b",
        "fact": r"(?:ce|cine|când|care|unde|de\s+ce|în\s+ce)\b",
    },
    "ca": {
        "comparison": r"diferència|comparar|comparació|\bmillor que\b",
        "how-to": r"com\b|on\s+(?:puc|es\s+pot)\b|(?:vull|necessito)\b",
        "limits": r"\bquant[as]?(?:es)?\b|\b(?:límits?|màxim|mínim|permís|permisos|permès)\b|\bqui\s+pot\b",
        "troubleshooting": r"^\s*per\s+què\b|\b(?:errors?|problem\w+|no\s+(?:funciona|puc|apareix)|desapareg\w+)\b",
        "definition": r"què\s+(?:és|són|significa)\b",
        "yes-no": r"(?:és|són|puc|es\s+pot|pot|hi\s+ha|té|existeix)\b",
        "fact": r"(?:què|qui|quan|quina?|quins|quines|on|per\s+què)\b",
    },
    "id": {
        "comparison": r"perbedaan|\bbeda(?:nya)?\b|bandingkan|perbandingan|\blebih baik daripada\b",
        "how-to": r"(?:bagaimana|gimana|cara)\b|di\s*mana\s+saya\s+(?:bisa|dapat)\b|saya\s+(?:ingin|mau)\b",
        "limits": r"\bberapa\b|\b(?:batas\w*|maksimum|maksimal|izin|diizinkan)\b|\bsiapa\s+yang\s+(?:bisa|dapat|boleh)\b",
        "troubleshooting": r"^\s*(?:mengapa|kenapa)\b|\b(?:error|kesalahan|masalah|gagal|hilang|tidak\s+(?:bisa|dapat|berfungsi|muncul))\b",
        "definition": r"apa\s+(?:itu|arti)\b",
        "yes-no": r"(?:apakah|bisakah|bolehkah|adakah)\b",
        "fact": r"(?:apa|siapa|kapan|mana|di\s*mana|mengapa)\b",
    },
    "tr": {
        "comparison": r"\bfark(?:ı|lar|ları)?\b|karşılaştır",
        "how-to": r".{0,80}\bnasıl\b|nereden\b",
        "limits": r"\b(?:kaç|ne\s+kadar)\b|\b(?:sınır\w*|limit\w*|en\s+fazla|izin\w*|yetki\w*)\b|\bkim(?:ler)?\b.{0,40}\bebilir\b",
        "troubleshooting": r"^\s*(?:neden|niçin)\b|\b(?:hata\w*|sorun\w*|çalışmıyor|göremiyorum|kayboldu|yapamıyorum|edemiyorum)\b",
        "definition": r".{1,60}\b(?:nedir|ne\s+demek)\b",
        "yes-no": r".{1,120}\bm[iıuü](?:y[iıuü]m|s[iıuü]n)?\s*\?*$",
        "fact": r"(?:ne|hangi|kim|nerede|neden)\b|.{1,80}\b(?:nerede|ne\s+zaman|hangisi)\b",
    },
    "ru": {
        "comparison": r"разниц|отлича|сравн|\bлучше чем\b",
        "how-to": r"как\s+(?!долго\b|часто\b)|где\s+(?:можно|я\s+могу)\b|(?:хочу|нужно|надо)\b",
        "limits": r"\bсколько\b|\bкак\s+(?:долго|часто)\b|\b(?:лимит\w*|ограничени\w+|максим\w+|права|разрешен\w+)\b|\bкто\s+может\b",
        "troubleshooting": r"^\s*почему\b|\b(?:ошибк\w+|проблем\w+|не\s+(?:работает|могу|видно|получается|вижу)|пропал\w*|исчез\w*)\b",
        "definition": r"что\s+(?:такое|значит|означает)\b",
        "yes-no": r"(?:можно\s+ли|есть\s+ли|нужно\s+ли|может\s+ли|могу\s+ли|\w+\s+ли)\b",
        "fact": r"(?:что|кто|когда|како\w+|каки\w+|где|почему|в\s+как\w+)\b",
    },
    "uk": {
        "comparison": r"різниц|відрізня|порівня",
        "how-to": r"як\s+(?!довго\b|часто\b)|де\s+(?:можна|я\s+можу)\b|(?:хочу|потрібно|треба)\b",
        "limits": r"\bскільки\b|\bяк\s+(?:довго|часто)\b|\b(?:ліміт\w*|обмеженн\w+|максим\w+|права|дозвол\w+)\b|\bхто\s+може\b",
        "troubleshooting": r"^\s*чому\b|\b(?:помилк\w+|проблем\w+|не\s+(?:працює|можу|видно|вдається|бачу)|зник\w*)\b",
        "definition": r"що\s+(?:таке|означає)\b",
        "yes-no": r"(?:чи)\b",
        "fact": r"(?:що|хто|коли|як(?:ий|а|е|і)|де|чому|в\s+як\w+)\b",
    },
    "el": {
        "comparison": r"διαφορά|σύγκρι",
        "how-to": r"(?:πώς|πως)\b|πού\s+μπορώ\b|θέλω\s+να\b",
        "limits": r"\bπόσ\w+\b|\b(?:όρι\w+|μέγιστ\w+|δικαιώματα|επιτρέπεται)\b|\bποιος\s+μπορεί\b",
        "troubleshooting": r"^\s*γιατί\b|\b(?:σφάλμα\w*|πρόβλημα\w*|δεν\s+(?:λειτουργεί|μπορώ|εμφανίζεται|βλέπω))\b",
        "definition": r"τι\s+(?:είναι|σημαίνει)\b",
        "yes-no": r"(?:μπορώ|μπορεί|υπάρχει|είναι|έχει)\b",
        "fact": r"(?:τι|ποι\w+|πότε|πού|γιατί|σε\s+ποι\w+)\b",
    },
    "ar": {
        "comparison": r"الفرق|مقارنة",
        "how-to": r"كيف",
        "limits": r"(?:^|\s)كم\s|الحد\s+الأقصى|صلاحي|المسموح",
        "troubleshooting": r"^\s*لماذا|خطأ|مشكلة|لا\s+(?:يعمل|أستطيع|يمكنني|يظهر)",
        "definition": r"ما\s+(?:هو|هي|معنى)\s",
        "yes-no": r"هل\s",
        "fact": r"(?:ما|ماذا|من|متى|أين|أي)\s",
    },
    "ja": {
        "comparison": r"違い|比較",
        "how-to": r".{0,200}(?:方法|どうすれば|どうやって|やり方|手順)",
        "limits": r"何(?:人|個|件|回|日|時間|文字)|いくつ|上限|最大|権限",
        "troubleshooting": r"なぜ|エラー|でき(?:ない|ません)|失敗|終わりません|表示され(?:ない|ません)",
        "definition": r".{1,60}とは",
        "yes-no": r".{1,200}(?:ます|ですか|ますか|可能ですか)",
        "fact": r".{0,200}(?:何|どこ|いつ|誰|どの)",
    },
    "zh": {
        "comparison": r"区别|區別|比较|比較|不同",
        "how-to": r".{0,200}(?:如何|怎么|怎麼|怎样|怎樣)",
        "limits": r"多少|几(?:个|次|天|人)|最多|上限|权限|權限",
        "troubleshooting": r"为什么|為什麼|错误|錯誤|无法|無法|不能|失败|失敗",
        "definition": r"什么是|什麼是|.{1,60}是什么|.{1,60}是什麼",
        "yes-no": r".{0,200}(?:吗|嗎|能否|是否|可以)",
        "fact": r".{0,200}(?:什么|什麼|哪|谁|誰|何时|何時)",
    },
    "ko": {
        "comparison": r"차이|비교",
        "how-to": r".{0,200}(?:어떻게|방법)",
        "limits": r"몇|얼마|최대|한도|권한",
        "troubleshooting": r"왜|오류|문제|안\s?(?:돼|되)|없어요|실패",
        "definition": r".{1,60}(?:이란|란|무엇)",
        "yes-no": r".{1,200}(?:나요|까요|인가요)",
        "fact": r".{0,200}(?:무엇|어디|언제|누가|어느|어떤)",
    },
}
"""Language to kind to what tells it, in lower case."""


class RuleClassifier:
    """Tells what a question wants by ``RULES`` (classifier ``rules``)."""

    def classify(self, question: str, language: str) -> str:
        """Return the kind of ``question``, which is one line; of several sentences the first that tells one counts.

        Args:
            question: cleaned.
            language: its ISO 639-1 code.
        """
        patterns = _patterns(language)
        text = _lowered(question, language)
        sentences = [sentence for sentence in _BETWEEN.split(text) if sentence]
        asked = [sentence for sentence in sentences if sentence.endswith(_ENDS)] or sentences
        kinds = [_kind(patterns, sentence) for sentence in asked]
        told = next((kind for kind in kinds if kind not in ("fact", "topic")), None)
        if told is None and len(sentences) > 1:
            told = _anywhere(patterns, text)
        return told or next(iter(kinds), "topic")


class NoClassifier:
    """Tells nothing (classifier ``none``)."""

    def classify(self, question: str, language: str) -> str:  # noqa: ARG002 - the Protocol's
        """Return the empty string."""
        return ""


def _lowered(text: str, language: str) -> str:
    """A text in lower case, as the patterns are: to look for both cases takes twice as long."""
    return (text.replace("I", "ı") if language == "tr" else text).replace("İ", "i").lower()


def _kind(patterns: Mapping[str, re.Pattern[str]], sentence: str) -> str:
    for kind, pattern in patterns.items():
        if pattern.search(sentence):
            return kind
    return "fact" if sentence.endswith(_ENDS) else "topic"


def _anywhere(patterns: Mapping[str, re.Pattern[str]], question: str) -> str | None:
    """What is told by words that stand anywhere, such as in the sentence before the one that asks."""
    return next((kind for kind, found in patterns.items() if kind not in ANCHORED and found.search(question)), None)


@lru_cache(maxsize=64)
def _patterns(language: str) -> Mapping[str, re.Pattern[str]]:
    """The patterns of a language, compiled when a question of it is first asked, in the order in which they are tried."""
    rules = RULES.get(language, {})
    lead = {kind: _AFTER_LEAD if kind in ("how-to", "definition") else _AT_START for kind in ANCHORED}
    return {kind: re.compile(f"{lead.get(kind, '')}(?:{rules[kind]})") for kind in ORDER if kind in rules}
