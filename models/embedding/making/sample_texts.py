"""Texts of the kinds that the product reads, to calibrate int8 models with and to check them on.

Written for this purpose. Several lengths, languages and registers, since a range that was measured
on tidy English alone is too narrow for the rest.
"""

PROBES = (
    "Great value, arrived a day early. Would buy again!",
    "The battery died after two weeks and support never answered my emails, so I sent it back.",
    "How do I get a clean espresso shot with a cheap grinder?",
    "I don't think this is a bug: the documentation says that the call returns immediately and "
    "that the result has to be polled for, which is what the example in the second chapter does.",
    "物流很快,包装完好,味道也不错,下次还会再买。",
    "¿Alguien sabe si funciona con la versión anterior? 😀",
)
"""What an int8 model is compared with fp32 on; none of them is calibrated with."""

CALIBRATION = (
    "ok",
    "Five stars.",
    "Terrible. Do not buy!!!",
    "Thanks, that worked for me.",
    "Is this compatible with the 2019 model?",
    "love it love it love it ❤️❤️",
    "Not worth $49.99, the cable alone broke twice in 3 months.",
    "Arrived late and the box was crushed, but the kettle itself is fine.",
    "The shoes run small. I usually wear a 42 and had to exchange them for a 43.",
    "+1, same problem here on Ubuntu 22.04 with driver 535. Any news?",
    "You should look at the refund policy before you order; they only accept returns within "
    "fourteen days, and the postage is yours to pay.",
    "The headphones sound wonderful for the price: deep bass, clear voices, and the noise "
    "cancelling keeps the train out. The only thing I miss is a carrying case.",
    "I was sceptical about a mattress in a box. After four months my back pain is gone, and my "
    "husband, who sleeps hot, has stopped complaining. Worth every cent.",
    "Question about fermentation temperature: my ale sits at 24 °C in summer. Will a wet towel and "
    "a fan bring it down enough, or do I need a proper cooling jacket around the fermenter?",
    "A qubit is not simply a bit that is zero and one at once. Its state is a unit vector in a two "
    "dimensional complex space, and a measurement projects it on one of two basis states with "
    "probabilities that are the squared magnitudes of its amplitudes.",
    "Proof. Suppose that f is continuous on [0, 1] and f(0) < 0 < f(1). Let s be the supremum of "
    "all x with f(x) < 0. If f(s) were positive, f would be positive near s, which contradicts "
    "the choice of s; the other case is alike. Hence f(s) = 0.",
    "Stake pool rewards are paid two epochs later, so what you see now belongs to the delegation "
    "of ten days ago. Saturation lowers the return for everybody in the pool; moving to a smaller "
    "one costs nothing but the transaction fee, and your coins never leave your wallet.",
    "My pupils confuse the chain rule with the product rule. I have tried colours, mnemonics and "
    "a lot of practice, and still half the class differentiates a composition as if it were a "
    "product. Has anybody here a lesson plan, for fifteen-year-olds, that made it click?",
    "```python\nfor i, row in enumerate(rows):\n    if row is None:\n        raise ValueError(i)\n"
    "``` gives `IndentationError: unexpected indent` at line 3. What am I missing?",
    "SELECT user_id, COUNT(*) FROM reviews WHERE rating <= 2 GROUP BY user_id HAVING COUNT(*) > 5;",
    "Traceback (most recent call last): KeyError: 'price' while parsing the second page of results",
    "Stayed three nights in June. Room 412 faces the courtyard and is quiet; the ones on the "
    "street side are not. Breakfast was plentiful if a bit dull: eggs, bread, two cheeses, fruit. "
    "Staff were kind and let us keep the luggage until the evening. The lift was out of order on "
    "two of the three days, which is no joke with a pram, and the pool was closed without notice. "
    "We would come again for the location, ten minutes on foot from the old town, but not at this "
    "price. Ask for the family room; it costs the same and has a small kitchen.",
    "I have used this coffee machine every day for two years, so this is not a first impression. "
    "It makes a good espresso once it is warm, which takes eight minutes, not three as the "
    "manual says. The grinder is loud and its finest setting is not quite fine enough for light "
    "roasts. Descaling every two months is a chore, but skip it and the pump starts to groan. One "
    "gasket had to be replaced under warranty; the service sent it within a week. If you drink "
    "milk drinks only, buy something cheaper with a better steam wand. For black coffee it is "
    "still the one I would choose, and I have tried four machines in this class.",
    "The new update ruined the app. It logs me out every day, the search finds nothing and the "
    "dark mode is gone. Bring the old version back or I will cancel my subscription.",
    "Great teacher, fair exams, too much homework.",
    "meh",
    "lol same",
    "AVOID AVOID AVOID - SCAM SELLER, FAKE REVIEWS, NO REFUND",
    "https://example.org/help?id=42 explains how to reset the device.",
    "1.5 l, 230 V, 50 Hz, 2200 W, 1.3 kg, EAN 4006381333931",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z 0 1 2 3 4 5 6 7 8 9",
    "客服态度很差,打了三次电话都没有解决问题。",
    "第二次购买了,质量一如既往的好,价格也比超市便宜,推荐给大家。",
    "請問這個消息是真的嗎?我在群組裡看到很多人轉傳,說喝熱水可以預防感冒。",
    "这款手机拍照效果不错,但是电池不耐用,充一次电只能用半天,而且玩游戏的时候发热严重。",
    "網路上流傳的照片是舊照片,與這次的颱風無關,內容也經過修改,請不要再轉傳。",
    "Qualität gut, Lieferung schnell, aber die Anleitung ist nur auf Englisch. Trotzdem "
    "empfehlenswert, vor allem für Anfänger.",
    "Très déçue : la couleur ne correspond pas à la photo et le tissu est rêche.",
    "Produto excelente, chegou antes do prazo. Recomendo!",
    "届くのが早くて助かりました。サイズもぴったりで満足しています。",
    "Отличный товар, пользуюсь каждый день, всё понравилось.",
    "جودة ممتازة وسعر مناسب، شكرا لكم.",
    "배송은 빨랐지만 포장이 찢어져 있었어요.",
)
